"""Compare searches that race their trials with searches that measure each in full, on the demo and over several seeds.

    python -m benchmarks.racing [--seeds 5]

Run it where `dvc repro` has run. The table is written to benchmarks/racing.md.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
from torch import Tensor

from benchmarks.comparison import set_up, table
from unwrite.editing.recipe import edit_settings
from unwrite.files.records import write_text
from unwrite.files.tensors import read_metadata
from unwrite.models.decoding import DecodingBatch
from unwrite.schema.artifacts import read_base
from unwrite.schema.params import load_params
from unwrite.schema.paths import DIRECTIONS
from unwrite.search.front import best_trial
from unwrite.search.inputs import read_inputs
from unwrite.search.objective import prepare_objective
from unwrite.search.study import run_study
from unwrite.search.trials import STOPPED, TrialOutcome

AIM = 0.05
TABLE = Path(__file__).with_suffix(".md")


class Search(NamedTuple):
    """What a search found: lowest KL divergence within the aim in millinats, trials stopped, tokens, seconds."""

    kl: float
    stopped: int
    tokens: int
    seconds: float


@click.command()
@click.option("--seeds", default=5, show_default=True)
def main(seeds: int) -> None:
    """Search with and without racing for each seed, then print and write the table."""
    set_up()
    rows: list[list[object]] = []
    for racing in (False, True):
        found = [search(seed, racing=racing) for seed in range(seeds)]
        name = "racing" if racing else "every trial in full"
        kl = [f"{one.kl:.2f}" for one in found]
        figures = [
            f"{median(one.kl for one in found):.2f}",
            f"{median(one.stopped for one in found):g}",
            f"{median(one.tokens for one in found):,.0f}",
            f"{median(one.seconds for one in found):.0f}",
        ]
        rows.append([name, *kl, *figures])
        print(*rows[-1], sep=" | ", flush=True)
    headers = ["", *(f"seed {seed}" for seed in range(seeds)), "median", "stopped", "tokens generated", "s"]
    page = _PAGE.format(aim=100 * AIM, seeds=seeds, table=table(headers, rows))
    print(page)
    write_text(TABLE, page)


_PAGE = """# Racing

`python -m benchmarks.racing`, on the demo, one thread: the lowest KL divergence (millinats, averaged over the first
`kl_tokens` response tokens) of {seeds} searches of 60 trials, among trials at a behaviour rate of at most {aim:.0f} %,
on the validation prompts. Stopped trials, tokens generated (those of finished rows that a pass still carries included)
and seconds are medians.

{table}

The demo answers in few words, so that a trial that is stopped saves little. On a model that answers at length, most of
a trial is generation: `make bench-real`.
"""


def search(seed: int, *, racing: bool) -> Search:
    """Search once, and count."""
    params = load_params()
    optimize = params.optimize.model_copy(update={"seed": seed, "racing": racing, "max_behaviour_rate": AIM})
    base = read_base()
    settings = edit_settings(optimize, read_metadata(DIRECTIONS, "compute_directions")["orthogonalize"])
    inputs = read_inputs(params, base)
    runtime = params.runtime.model_copy(update={"progress": "none"})
    objective = prepare_objective(inputs, optimize, settings, runtime)
    with _CountedTokens() as tokens:
        start = time.perf_counter()
        batches = run_study(objective.evaluate, optimize, done=[], layers=base.layers, positions=len(inputs.directions))
        outcomes: list[TrialOutcome] = [outcome for batch in batches for outcome in batch]
        seconds = time.perf_counter() - start
    best = best_trial(outcomes, AIM)
    assert best is not None
    stopped = sum(outcome.reason == STOPPED for outcome in outcomes)
    return Search(1000 * best.kl, stopped, tokens.count, seconds)


class _CountedTokens:
    """Counts the tokens that are generated while open."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> _CountedTokens:
        self._append: Any = DecodingBatch.append

        def counted(batch: DecodingBatch, tokens: Tensor) -> None:
            self.count += len(tokens)
            self._append(batch, tokens)

        setattr(DecodingBatch, "append", counted)  # noqa: B010
        return self

    def __exit__(self, *_: object) -> None:
        setattr(DecodingBatch, "append", self._append)  # noqa: B010


if __name__ == "__main__":
    main()
