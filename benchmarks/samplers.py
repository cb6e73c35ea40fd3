"""Compare the samplers on the demo, at equal numbers of trials and over several seeds: which finds the best trial?

    python -m benchmarks.samplers [--seeds 5] [--trials 60] [--only gp --only tpe …]
    python -m benchmarks.samplers --batch 5 --batch 10 …

With --batch it compares numbers of trials that are asked for together: the more, the less the sampler has seen.
Run it where `dvc repro` has run. Each trial is measured once and kept in .unwrite/benchmarks, so that an interrupted
run continues, and another sampler costs only its own trials. The table is written to benchmarks/samplers.md.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

import click
from tabulate import tabulate

from benchmarks.comparison import set_up
from unwrite.editing.recipe import edit_settings
from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.files.records import write_text
from unwrite.files.tensors import read_metadata
from unwrite.schema.artifacts import TrialParameters, read_base
from unwrite.schema.params import Params, load_params
from unwrite.schema.paths import BASE, DIRECTIONS, TOKENS
from unwrite.search.inputs import read_inputs
from unwrite.search.objective import prepare_objective
from unwrite.search.samplers import Observation, ask, batch_seed, make_sampler, observe
from unwrite.search.space import Sampled, one_shot_settings, search_space, starting_settings, trial_parameters
from unwrite.search.trials import Measured
from unwrite.terms import Sampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

Measure = Callable[[Sequence[TrialParameters]], list[Measured]]

AIM = 0.05
PLAIN = 200
BATCH = 5
CACHE = Path(".unwrite/benchmarks")
TABLE = Path(__file__).with_suffix(".md")


Observe = Callable[[Measured, float, float | None], Observation]
"""How a sampler sees a trial, given the highest rate of any trial and the lowest KL divergence within the aim."""


class Strategy(NamedTuple):
    """A way to search: its title, its sampler for a seed, what that observes, whether starting settings are first."""

    title: str
    make: Callable[[int], BaseSampler]
    observe: Observe
    starts: bool = True


def _ours(sampler: Sampler, random_trials: int) -> tuple[Callable[[int], BaseSampler], Observe]:
    return (
        lambda seed: make_sampler(sampler, seed=seed, random_trials=random_trials),
        lambda measured, highest, best: observe(sampler, measured, AIM, highest, best),
    )


def _whole_process(seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=10, warn_independent_sampling=False)


def _rate(measured: Measured) -> float:
    assert measured.behaviour_rate is not None
    return measured.behaviour_rate


STRATEGIES = {
    "plain": Strategy("TPE, two objectives (`tpe` without starting settings)", *_ours("tpe", 30), starts=False),
    "gp": Strategy("GP, constrained (`gp`)", *_ours("gp", 10)),
    "tpe_constrained": Strategy("TPE, constrained (`tpe_constrained`)", *_ours("tpe_constrained", 15)),
    "tpe": Strategy("TPE, two objectives (`tpe`)", *_ours("tpe", 30)),
    "gp_whole": Strategy("GP, constrained, at Optuna's own settings", _whole_process, _ours("gp", 10)[1]),
}


@click.command()
@click.option("--seeds", default=5, show_default=True)
@click.option("--trials", default=60, show_default=True, help=f"Trials of each sampler; plain TPE has {PLAIN}.")
@click.option("--only", multiple=True, type=click.Choice(list(STRATEGIES)), help="Run only this sampler; repeatable.")
@click.option(
    "--batch", "batches", multiple=True, type=click.IntRange(min=1), help="Compare batches of so many trials."
)
def main(seeds: int, trials: int, only: tuple[str, ...], batches: tuple[int, ...]) -> None:
    """Search with each sampler and each seed, then print and write the table."""
    set_up()
    params = load_params()
    measure, positions = _measured_once(params)
    if batches:
        _compare_batches(params, positions, measure, only or ("gp",), batches, seeds=seeds, trials=trials)
        return
    rows = []
    for name in only or STRATEGIES:
        strategy = STRATEGIES[name]
        count = max(PLAIN, trials) if name == "plain" else trials
        runs = [_search(strategy, params, positions, measure, trials=count, seed=seed) for seed in range(seeds)]
        seconds = fmean(seconds for _, seconds in runs)
        for shown in sorted({min(trials, count), min(100, count), count}):
            rows.append([strategy.title, shown, *_figures([found[:shown] for found, _ in runs]), f"{seconds:.2f}"])
            print(*rows[-1], sep=" | ", flush=True)
    base = read_base()
    first = [
        measure([trial_parameters(sampled)])[0]
        for sampled in one_shot_settings(params.optimize.space, layers=base.layers)
    ]
    rows.insert(0, ["One-shot settings alone", len(first), *_figures([first] * seeds), ""])
    headers = ["", "trials", *(f"seed {seed}" for seed in range(seeds)), "median", "s per ask"]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    print(table)
    page = _PAGE.format(aim=100 * AIM, batch=BATCH, seeds=seeds, table=table)
    write_text(TABLE, page + _section_of_batches())


def _compare_batches(
    params: Params,
    positions: int,
    measure: Measure,
    samplers: Sequence[str],
    batches: Sequence[int],
    *,
    seeds: int,
    trials: int,
) -> None:
    """Search with each number of trials in a batch, and write the section on it."""
    rows = []
    for name in samplers:
        for batch in batches:
            search = partial(_search, STRATEGIES[name], params, positions, measure, trials=trials, batch=batch)
            found = [search(seed=seed)[0] for seed in range(seeds)]
            rows.append([STRATEGIES[name].title, batch, *_figures(found)])
            print(*rows[-1], sep=" | ", flush=True)
    headers = ["", "batch", *(f"seed {seed}" for seed in range(seeds)), "median"]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    before = TABLE.read_text(encoding="utf-8").partition(_BATCHES)[0]
    write_text(TABLE, before + _BATCHES + _ABOUT_BATCHES.format(trials=trials, table=table))


def _section_of_batches() -> str:
    """Return what an earlier run with --batch has written, or nothing."""
    page = TABLE.read_text(encoding="utf-8") if TABLE.is_file() else ""
    _, heading, rest = page.partition(_BATCHES)
    return heading + rest


_BATCHES = "\n## Trials in a batch\n"
_ABOUT_BATCHES = """
`python -m benchmarks.samplers --batch …`: the same figures after {trials} trials, by how many of them are asked for
together. Of a batch, no result is known when it is asked for.

{table}
"""


_PAGE = """# Samplers

`python -m benchmarks.samplers`, on the demo: the lowest divergence (millinats, averaged over the first `kl_tokens`
response tokens) among trials at a behaviour rate of at most {aim:.0f} %, on the validation prompts; {seeds} seeds,
trials asked for {batch} at a time. The seconds per ask are those of one CPU thread on a shared machine. A trial's
forward passes are the same for every sampler.

{table}

A Gaussian process that observed a smoothed rate, the log-odds of the tokens that declining responses begin with, was no
better (2.64, 1.95, 2.07, 2.14, 1.96; median 2.07) and was removed.
"""


def _figures(runs: Sequence[Sequence[Measured]]) -> list[str]:
    best = [
        min((1000 * measured.kl for measured in found if _rate(measured) <= AIM), default=math.inf) for found in runs
    ]
    return [f"{value:.2f}" if math.isfinite(value) else "none" for value in [*best, median(best)]]


def _search(
    strategy: Strategy, params: Params, positions: int, measure: Measure, *, trials: int, seed: int, batch: int = BATCH
) -> tuple[list[Measured], float]:
    """Run one search in batches, and return its first trials and the seconds per ask."""
    space, layers = params.optimize.space, read_base().layers
    distributions = search_space(space, layers=layers, positions=positions)
    first = starting_settings(space, layers=layers) if strategy.starts else []
    ended: list[tuple[Sampled, Measured]] = []
    asking = 0.0
    while len(ended) < trials:
        rates = [_rate(measured) for _, measured in ended]
        best = min((measured.kl for _, measured in ended if _rate(measured) <= AIM), default=None)
        observed = [(sampled, strategy.observe(measured, max(rates), best)) for sampled, measured in ended]
        start = time.perf_counter()
        sampler = strategy.make(batch_seed(seed, len(ended)))
        asked = ask(sampler, observed, distributions, first[len(ended) :], batch)
        asking += time.perf_counter() - start
        ended += zip(asked, measure([trial_parameters(sampled) for sampled in asked]), strict=True)
    return [measured for _, measured in ended[:trials]], asking / len(ended)


def _measured_once(params: Params) -> tuple[Measure, int]:
    """Return a function that measures each trial only once, across samplers and runs, and the number of positions."""
    files = [BASE, DIRECTIONS, Path(params.judge.markers), *sorted(TOKENS.glob("*.validation.jsonl"))]
    fixed = params.optimize.model_dump(
        include={"norm_preservation", "edit_bias", "post_norm", "max_tokens", "kl_tokens"}
    )
    decisive = [[sha256_of(file) for file in files], fixed, Measured._fields]
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    path = CACHE / f"{key[:16]}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, Measured] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            known[entry["trial"]] = Measured(**entry["measured"])
    inputs = read_inputs(params, read_base())
    settings = edit_settings(params.optimize, read_metadata(DIRECTIONS, "compute_directions")["orthogonalize"])
    objective = prepare_objective(inputs, params.optimize, settings, params.runtime)

    def measure(trials: Sequence[TrialParameters]) -> list[Measured]:
        names = [trial.model_dump_json() for trial in trials]
        new = [trial for trial, name in zip(trials, names, strict=True) if name not in known]
        with path.open("a") as file:
            for trial, result in zip(new, objective.evaluate(new) if new else [], strict=True):
                if isinstance(result, UnwriteError):
                    raise result
                known[trial.model_dump_json()] = result
                file.write(json.dumps({"trial": trial.model_dump_json(), "measured": result._asdict()}) + "\n")
        return [known[name] for name in names]

    return measure, len(inputs.directions)


if __name__ == "__main__":
    main()
