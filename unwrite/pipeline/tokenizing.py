"""Tokenize a prompt set as the model receives it, or refuse what it could not answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from datetime import date
from hashlib import blake2b
from itertools import groupby, islice
from typing import TYPE_CHECKING

from unwrite.files.prompt_sets import refuse_listed
from unwrite.files.prompts import Prompt
from unwrite.models import chat
from unwrite.models.prompt_limits import refuse_too_long, refuse_unknown_tokens
from unwrite.pipeline.tokens import TokenizedPrompt
from unwrite.schema.params import Tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_AT_ONCE = 1000
"""Prompts that are tokenized together: enough to keep every core busy, few enough to take no memory."""


def tokenize_set(
    tokenizer: PreTrainedTokenizerBase,
    where: str,
    prompts: Iterable[Prompt],
    settings: Tokenize,
    *,
    vocabulary: int,
    response: int,
    limit: int | None,
) -> Iterator[TokenizedPrompt]:
    """Render prompts with the chat template and tokenize them, some at a time.

    Args:
        tokenizer: the model's tokenizer.
        where: the name of the set, for errors.
        prompts: the prompts, each with its system prompt.
        settings: how the template renders them.
        vocabulary: how many tokens the model knows.
        response: how many response tokens follow, at most.
        limit: the longest sequence that the model takes, if it says so.

    Raises:
        UnwriteError: the template refuses a prompt, or the model cannot take it.
    """
    for system_prompt, alike in groupby(prompts, lambda prompt: prompt.system_prompt):
        for some in _batches(alike):
            rendered = chat.tokenize_conversations(
                tokenizer,
                [prompt.turns for prompt in some],
                system_prompt=system_prompt,
                response_prefix=settings.response_prefix,
                template_arguments=settings.template_arguments,
                today=template_date(settings.today),
            )
            texts, tokens = [prompt.shown for prompt in some], [one.tokens for one in rendered]
            refuse_unknown_tokens(where, texts, tokens, vocabulary)
            refuse_too_long(where, texts, tokens, response, limit)
            for prompt, shown, (text, ids) in zip(some, texts, rendered, strict=True):
                yield TokenizedPrompt(shown, prompt.reference, text, ids, system_prompt)


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


def template_date(today: str | None) -> date | None:
    """Return the date that a chat template prints, if `tokenize.today` gives one."""
    return date.fromisoformat(today) if today else None


def _batches(prompts: Iterable[Prompt]) -> Iterator[Sequence[Prompt]]:
    iterator = iter(prompts)
    while some := list(islice(iterator, _AT_ONCE)):
        yield some


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
