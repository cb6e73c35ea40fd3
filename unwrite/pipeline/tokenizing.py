"""Tokenize a prompt set as the model receives it, or refuse what it could not answer."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from datetime import date
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from unwrite.files.prompt_sets import refuse_listed
from unwrite.files.prompts import Prompt
from unwrite.models import chat
from unwrite.models.prompt_limits import refuse_too_long, refuse_unknown_tokens
from unwrite.pipeline.long_prompts import truncated_prompt
from unwrite.pipeline.tokens import TokenizedPrompt
from unwrite.schema.artifacts import PromptOrigin
from unwrite.schema.params import FilterSection, Tokenize
from unwrite.terms import SplitName

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_AT_ONCE = 1000
"""Prompts that are tokenized together: enough to keep every core busy, few enough to take no memory."""
_CHARACTERS_AT_ONCE = 2_000_000
"""Characters after which no further prompt is added to those: a token takes some 40 bytes in Python."""


class ModelLimits(NamedTuple):
    """What a model takes: how many tokens it knows, the longest sequence, and how many response tokens follow, at most.

    `longest` is None where the model sets no limit.
    """

    vocabulary: int
    longest: int | None
    response: int


def tokenize_set(
    tokenizer: PreTrainedTokenizerBase,
    where: str,
    prompts: Iterable[Prompt],
    settings: Tokenize,
    limits: ModelLimits,
    *,
    suffix: str = "",
    shortened: Counter[str] | None = None,
) -> Iterator[TokenizedPrompt]:
    """Render prompts with the chat template and tokenize them, some at a time.

    Args:
        tokenizer: the model's tokenizer.
        where: the name of the set, for errors.
        prompts: the prompts, each with its system prompt.
        settings: how the template renders them, and what becomes of those that are too long.
        limits: what the model takes.
        suffix: what ends each prompt of the set, and stays where one is truncated.
        shortened: truncated prompts are counted here, under `where`.

    Raises:
        UnwriteError: the template refuses a prompt, or the model cannot take it.
    """
    for system_prompt, alike in groupby(prompts, lambda prompt: prompt.system_prompt):

        def render(some: Sequence[Prompt], system_prompt: str | None = system_prompt) -> list[chat.RenderedPrompt]:
            return chat.tokenize_conversations(
                tokenizer,
                [prompt.turns for prompt in some],
                system_prompt=system_prompt,
                response_prefix=settings.response_prefix,
                template_arguments=settings.template_arguments,
                today=template_date(settings.today),
            )

        for some in _batches(alike):
            rendered = render(some)
            if settings.long_prompts == "truncate" and limits.longest is not None:
                cut = _truncated(some, rendered, render, suffix, limits.longest - limits.response)
                for number, prompt in cut.items():
                    some[number], (rendered[number],) = prompt, render([prompt])
                if shortened is not None and cut:
                    shortened[where] += len(cut)
            texts, tokens = [prompt.shown for prompt in some], [one.tokens for one in rendered]
            refuse_unknown_tokens(where, texts, tokens, limits.vocabulary)
            refuse_too_long(where, texts, tokens, limits.response, limits.longest)
            for prompt, shown, (text, ids) in zip(some, texts, rendered, strict=True):
                yield TokenizedPrompt(shown, prompt.reference, text, ids, system_prompt)


def _truncated(
    prompts: Sequence[Prompt],
    rendered: Sequence[chat.RenderedPrompt],
    render: Callable[[Sequence[Prompt]], Sequence[chat.RenderedPrompt]],
    suffix: str,
    room: int,
) -> dict[int, Prompt]:
    """Return prompts that are too long, by their number, shortened; not those that no shortening would make fit."""
    long = (number for number, one in enumerate(rendered) if len(one.tokens) > room)
    cut = {
        number: truncated_prompt(prompts[number], suffix, lambda prompt: len(render([prompt])[0].tokens), room)
        for number in long
    }
    return {number: prompt for number, prompt in cut.items() if prompt is not None}


def recorded_origin(
    name: str, origin: PromptOrigin, places: Mapping[SplitName, str], shortened: Mapping[str, int]
) -> PromptOrigin:
    """Return the record of a set with the number of truncated prompts by split, and say what was tokenized.

    Args:
        name: the name of the set.
        origin: where it came from.
        places: the name of each of its splits, as `tokenize_set` was given it.
        shortened: how many prompts of each were truncated.
    """
    logger.info("%s: %d prompts of %s.", name, sum(origin.prompts.values()), origin.source)
    truncated = {split: shortened[place] for split, place in places.items() if shortened.get(place)}
    for split, count in truncated.items():
        logger.warning(
            "%s: %d of %d %s prompts were truncated, so that they and their responses fit the model.",
            name,
            count,
            origin.prompts[split],
            split,
        )
    return origin.model_copy(update={"truncated": truncated})


def all_different(
    rows: Iterable[TokenizedPrompt], where: str, seen: MutableMapping[bytes, str]
) -> Iterator[TokenizedPrompt]:
    """Yield tokenized prompts, and refuse at the end those whose rendered text another one has.

    Args:
        rows: the prompts.
        where: their set and split.
        seen: where each rendered text is, by its hash; theirs are added.

    Raises:
        UnwriteError: the model would receive the same text twice; the message lists the prompts with both places.
    """
    twice = []
    for row in rows:
        digest = _digest(row.text)
        if digest in seen:
            twice.append(f"The prompt {row.prompt[:80]!r} of {where} is rendered like one of {seen[digest]}")
        seen[digest] = where
        yield row
    refuse_listed(twice, "Keep one of each.")


def rendered_places(used: Mapping[str, Iterable[TokenizedPrompt]]) -> dict[bytes, str]:
    """Return where each rendered text is, by its hash, as `all_different` takes it.

    Args:
        used: tokenized prompts by place.
    """
    return {_digest(row.text): place for place, rows in used.items() for row in rows}


def longest_responses(filtering: FilterSection, search: int, final: int) -> dict[SplitName, int]:
    """Return how many response tokens follow the prompts of each split, at most.

    Args:
        filtering: how training prompts are filtered, which needs responses.
        search: of the search, which generates responses to validation prompts.
        final: of the final figures.
    """
    return {
        "train": filtering.max_tokens if filtering.target or filtering.baseline else 0,
        "validation": search,
        "test": final,
    }


def template_date(today: str | None) -> date | None:
    """Return the date that a chat template prints, if `tokenize.today` gives one."""
    return date.fromisoformat(today) if today else None


def _batches(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    some, characters = list[Prompt](), 0
    for prompt in prompts:
        some.append(prompt)
        characters += sum(map(len, prompt.turns))
        if len(some) == _AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield some
            some, characters = [], 0
    if some:
        yield some


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
