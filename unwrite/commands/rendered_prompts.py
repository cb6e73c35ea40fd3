"""The command that shows prompts as the model receives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import click

from unwrite.commands.running import expected_errors
from unwrite.errors import UnwriteError
from unwrite.terms import SETS, SPLITS, SplitName

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from unwrite.pipeline.prompt_sources import ReadSet
    from unwrite.pipeline.tokens import TokenizedPrompt
    from unwrite.schema.params import Params, Tokenize

_WIDTH = 80
_INDENT = "  "


class _Set(NamedTuple):
    """A prompt set, and which of its splits is shown."""

    name: str
    split: SplitName
    read: ReadSet


class _Rendering(NamedTuple):
    """What prompts are rendered with, the longest sequence of the model, and what to say about it."""

    tokenizer: PreTrainedTokenizerBase
    longest: int | None
    settings: Tokenize
    notes: list[str]


@click.command()
@click.option(
    "--set", "only", metavar="NAME", help="target, baseline, or an extra set (evaluate.sets); by default all."
)
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Of target and baseline.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="Prompts per set.")
@expected_errors
def prompts(*, only: str | None, split: SplitName, count: int) -> None:
    """Show the first prompts of each set as the model receives them, token by token.

    Nothing needs to have run, if the model's tokenizer is at hand. Token boundaries, special tokens and line breaks are
    made visible, and the tokens whose residual is read are marked; what the chat template adds is said.
    """
    from unwrite.schema.params import load_params

    params = load_params()
    names = [*SETS, *params.evaluate.sets]
    if only is not None and only not in names:
        raise UnwriteError(f"there is no prompt set {only}; the sets are {', '.join(names)}.")
    rendering = _rendering(params)
    for line in _about(params, rendering):
        click.echo(line)
    for one in _read_sets(params, names if only is None else [only], split):
        click.echo()
        for line in _set_lines(one, params, rendering, count):
            click.echo(line)


def _rendering(params: Params) -> _Rendering:
    from unwrite.models.loading import load_config
    from unwrite.models.prompt_limits import longest_sequence
    from unwrite.pipeline.found_model import find_tokenizer_folder
    from unwrite.pipeline.templates import load_with_template, text_of_template
    from unwrite.schema.artifacts import PromptOrigins, read_artifact
    from unwrite.schema.params import FOUND
    from unwrite.schema.paths import SOURCES, TOKENS

    folder = find_tokenizer_folder(params.model.source, params.model.revision)
    settings, notes = params.tokenize, []
    tokenizer = load_with_template(folder, settings.template)
    text_of_template(tokenizer)  # there is one
    if settings.response_prefix == FOUND:
        found, said = "", "is found when tokenize_prompts runs, and not shown here"
        if (TOKENS / SOURCES).is_file():
            found = read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts").response_prefix
            said = f"was found to be {found!r} when tokenize_prompts ran"
        settings, notes = settings.model_copy(update={"response_prefix": found}), [f"The response prefix {said}."]
    return _Rendering(tokenizer, longest_sequence(load_config(folder)), settings, notes)


def _about(params: Params, rendering: _Rendering) -> Iterator[str]:
    from unwrite.commands.token_text import LEGEND

    own = {None: "the model's own chat template", "raw": "no chat template"}
    template = own.get(params.tokenize.template, params.tokenize.template)
    yield _printable(f"{params.model.source}, {template}")
    yield from (click.wrap_text(_printable(note), _WIDTH) for note in rendering.notes)
    yield LEGEND


def _read_sets(params: Params, names: Sequence[str], split: SplitName) -> Iterator[_Set]:
    from unwrite.pipeline.prompt_sources import read_extra_set, read_sets

    sets = read_sets(params.tokenize) if set(SETS) & set(names) else {}
    for name in names:
        if name in sets:
            yield _Set(name, split, sets[name])
        else:
            extra = params.evaluate.sets[name]
            yield _Set(name, "test", read_extra_set(name, extra.prompts, params.tokenize))


def _set_lines(one: _Set, params: Params, rendering: _Rendering, count: int) -> Iterator[str]:
    """Yield a heading, what the template adds, and the first prompts."""
    from unwrite.models.template_notes import template_notes
    from unwrite.pipeline.tokenizing import ModelLimits, template_date, tokenize_set

    of_split = one.read.prompts()[one.split]
    place = f"{one.name}, {one.split}"
    heading = f"{place}: {min(count, len(of_split))} of {len(of_split)} prompts of {one.read.origin.source}"
    yield click.style(_printable(heading), bold=True)
    first = of_split[:count]
    for system_prompt in dict.fromkeys(prompt.system_prompt for prompt in first):
        if system_prompt is not None:
            yield click.wrap_text(f"System prompt: {_printable(system_prompt)}", _WIDTH)
        for note in template_notes(
            rendering.tokenizer,
            system_prompt=system_prompt,
            template_arguments=rendering.settings.template_arguments,
            today=template_date(rendering.settings.today),
        ):
            yield click.wrap_text(_printable(note), _WIDTH)
    rows = tokenize_set(
        rendering.tokenizer,
        place,
        first,
        rendering.settings,
        ModelLimits(len(rendering.tokenizer), rendering.longest, _longest_response(params, one.split)),
        suffix=one.read.suffix,
    )
    for number, row in enumerate(islice(rows, count), 1):
        yield from _prompt_lines(number, row, params.residuals.positions, rendering.tokenizer)


def _longest_response(params: Params, split: SplitName) -> int:
    from unwrite.pipeline.tokenizing import longest_responses

    search = max(params.optimize.max_tokens, params.optimize.kl_tokens)
    return longest_responses(params.filter, search, max(params.generate.max_tokens, params.generate.kl_tokens))[split]


def _prompt_lines(
    number: int, row: TokenizedPrompt, positions: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> Iterator[str]:
    from unwrite.commands.token_text import token_lines
    from unwrite.models.chat import RenderedPrompt
    from unwrite.models.token_pieces import token_pieces

    pieces = token_pieces(tokenizer, RenderedPrompt(row.text, row.tokens))
    marks = {len(pieces) + position: str(position) for position in positions if len(pieces) + position >= 0}
    yield ""
    yield f"{number}. {len(pieces)} tokens"
    for line in token_lines(pieces, marks, _WIDTH - len(_INDENT)):
        yield _INDENT + line


def _printable(text: str) -> str:
    from unwrite.release.untrusted import printable

    return printable(" ".join(text.split()))
