"""The command that proposes a marker list, from what the base model says to training prompts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from unwrite.commands.running import FILE, expected_errors
from unwrite.errors import UnwriteError

if TYPE_CHECKING:
    from unwrite.evaluation.phrases import Phrase
    from unwrite.schema.params import Params

_PHRASE, _EXAMPLE = 42, 38  # columns, so that the table fits in 120


class _Said(NamedTuple):
    """What the base model said to target and baseline prompts, and the words that only the former are about."""

    target: list[str]
    baseline: list[str]
    topic: set[str]


@click.command()
@click.option("--prompts", "count", type=click.IntRange(min=2), default=50, show_default=True, help="Prompts per set.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest response.  [default: optimize.max_tokens]")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Phrases to propose, at most.")
@click.option("--write", "path", type=FILE, help="Write the phrases into this file, for judge.markers.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@expected_errors
def markers(*, count: int, max_tokens: int | None, top: int, path: Path | None, force: bool) -> None:
    """Propose markers: phrases that the base model uses in responses to target prompts and not to baseline prompts.

    Needs no marker list. Prompts that are not tokenized yet are tokenized first. The responses are to training prompts,
    so that the list is not tuned to the prompts it is tested on. Phrases with words that the target prompts are about
    are left out. Read the list before you use it.
    """
    from unwrite.evaluation.phrases import propose_phrases
    from unwrite.files.records import write_text
    from unwrite.schema.params import load_params

    if path is not None and path.exists() and not force:
        raise UnwriteError(f"{path} exists. Name another file, or replace it with --force.")
    said = _base_responses(load_params(), count, max_tokens)
    phrases = propose_phrases(said.target, said.baseline, said.topic, most=top)
    if not phrases:
        raise UnwriteError(
            f"No phrase is clearly more frequent in the {len(said.target)} responses to target prompts than in the "
            f"{len(said.baseline)} to baseline prompts. Use more --prompts, or check that the target prompts show the "
            "behaviour."
        )
    click.echo(_table(phrases, said))
    if path is not None:
        write_text(path, "".join(f"{line}\n" for line in ["# Proposed by `unwrite markers`.", *_texts(phrases)]))
        click.echo(f"Written: {path}")


def _base_responses(params: Params, count: int, max_tokens: int | None) -> _Said:
    """Return the base model's responses to the first training prompts of each set."""
    from unwrite.evaluation.phrases import topic_words
    from unwrite.evaluation.responding import greedy_texts
    from unwrite.models.loading import load_model
    from unwrite.pipeline.base import pinned_folder
    from unwrite.pipeline.progress import progress
    from unwrite.pipeline.stage import use_threads
    from unwrite.pipeline.templates import load_as_tokenized
    from unwrite.pipeline.tokens import read_tokens
    from unwrite.schema.artifacts import read_base
    from unwrite.schema.paths import TOKENS
    from unwrite.terms import SETS

    if not TOKENS.is_dir():
        _tokenize()
    prompts = {name: read_tokens(name, "train") for name in SETS}
    topic = topic_words(*([row.prompt for row in prompts[name]] for name in SETS))
    base = read_base()
    folder = pinned_folder(base)
    use_threads(params.runtime.threads)
    model = load_model(folder, base.compute_dtype, params.runtime, base.quantization)
    tokenizer = load_as_tokenized(folder)
    responses = {}
    for name in SETS:
        tokens = [row.tokens for row in prompts[name][:count]]
        with progress(f"base responses to {name} prompts", len(tokens), params.runtime.progress) as advance:
            responses[name] = greedy_texts(
                model,
                tokenizer,
                tokens,
                max_tokens or params.optimize.max_tokens,
                batch_tokens=params.runtime.batch_tokens,
                padding_sensitive=base.padding_sensitive,
                advance=advance,
            )
    return _Said(responses["target"], responses["baseline"], topic)


def _tokenize() -> None:
    """Run the pipeline up to the tokens, which needs no marker list."""
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", "tokenize_prompts"], check=False)
    if done.returncode:
        raise UnwriteError("the prompts could not be tokenized (`dvc repro tokenize_prompts`, see above).")


def _table(phrases: Sequence[Phrase], said: _Said) -> str:
    """Return the phrases with their counts and an example each, and what they cover together."""
    from tabulate import tabulate

    from unwrite.core.markers import shows_behaviour
    from unwrite.report.format import percent

    targets, baselines = len(said.target), len(said.baseline)
    rows = [
        [_shortened(row.text, _PHRASE), row.target, row.baseline, row.new, f"{row.p:.1g}", _example(row, said.target)]
        for row in phrases
    ]
    headers = ["phrase", f"of {targets}\ntarget", f"of {baselines}\nbaseline", "\nnew", "\np", "\nfor example"]
    table = tabulate(rows, headers, "simple", disable_numparse=True, colalign=("left", *["right"] * 4, "left"))
    texts = _texts(phrases)
    shown, wrong = (sum(shows_behaviour(text, texts) for text in responses) for responses in said[:2])
    covered = f"Together: {percent(shown / targets)} of the responses to target prompts, {percent(wrong / baselines)}"
    return f"{table}\n\n{covered} of those to baseline prompts."


def _texts(phrases: Sequence[Phrase]) -> list[str]:
    return [phrase.text for phrase in phrases]


def _example(phrase: Phrase, responses: Sequence[str]) -> str:
    """Return a response around the phrase, in one line without control characters."""
    from unwrite.core.spans import find_marker

    response = responses[phrase.example]
    found = find_marker(response, [phrase.text])
    start = max(0, found.start - _EXAMPLE // 4) if found is not None else 0
    return _shortened(("…" if start else "") + response[start : start + 4 * _EXAMPLE], _EXAMPLE)


def _shortened(text: str, most: int) -> str:
    from unwrite.release.untrusted import printable

    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"
