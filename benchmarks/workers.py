"""Workers against one process on the demo: trials and residuals a second, and the driver's share with many workers.

    python -m benchmarks.workers [--trials 10] [--turns 20] [--simulated 128] [--output benchmarks/workers.md]

Run it where `dvc repro` has run. Every process computes with one thread, start-up is left out, and the ways alternate.
The driver's share is measured with workers that sleep, and computed for other trials from how long the sampler takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import psutil
from tabulate import tabulate

from benchmarks.comparison import set_up
from benchmarks.search import shared_settings
from unwrite.files.records import write_text
from unwrite.models.batches import by_token_budget
from unwrite.models.memory import constant_limits
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import TrialParameters, read_base
from unwrite.schema.params import Params, load_params
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.inputs import read_files
from unwrite.search.parallel import ParallelObjective, prepare_workers
from unwrite.search.racing import ANY_TRIAL
from unwrite.search.space import trial_parameters
from unwrite.search.study import ask_batch, run_study
from unwrite.search.trials import Measured, TrialOutcome
from unwrite.search.worker import SearchReport, SearchSetup, SearchWorker
from unwrite.terms import MEASURED_SPLITS, SETS, Sampler
from unwrite.workers.extraction import ResidualWorker
from unwrite.workers.model_setup import ModelSetup
from unwrite.workers.pool import Pool, open_pool
from unwrite.workers.shards import Readers

OUTPUT = Path(__file__).with_suffix(".md")
_LEAST_SECONDS = 1.0  # that each runs for, each turn
_CORES = frozenset(os.sched_getaffinity(0))
_SAMPLERS: tuple[Sampler, ...] = ("gp", "tpe_constrained")
_CROWDS = (2, 8, 64)
_SECONDS_OF_TRIAL = (1.0, 10.0, 60.0, 600.0)
_SHARE = 0.05
_SLEEPERS = 64
_SLEEPS: tuple[tuple[Sampler, float], ...] = (("gp", 6.0), ("gp", 60.0), ("tpe_constrained", 6.0))
"""Samplers, and seconds of a trial: 6 is the median of SmolLM2's search on two cores (examples/chatbot-disclaimer)."""


class Rates(NamedTuple):
    """Units a second in each turn: of this process without Ray, and of workers."""

    alone: list[float]
    workers: list[float]

    @property
    def gain(self) -> float:
        """The workers' rate over that of this process: the median over the turns."""
        return median(workers / alone for alone, workers in zip(*self, strict=True))


@click.command()
@click.option("--trials", default=10, show_default=True, type=click.IntRange(min=2), help="Trials of each turn.")
@click.option("--turns", default=20, show_default=True, type=click.IntRange(min=1), help="Turns.")
@click.option("--simulated", default=128, show_default=True, help="Trials of the simulated searches.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the page into this file.")
def main(trials: int, turns: int, simulated: int, output: Path | None) -> None:
    """Measure, print the tables, and write them if a file is named."""
    set_up()
    params = _one_thread(load_params())
    rows = [
        _row(f"search, {trials} trials a turn, measured in full", _search_rates(params, trials, turns), "trials"),
        _row("extraction, all training and validation prompts", _extraction_rates(params, turns), "prompts"),
    ]
    headers = ["", "one process", "one worker", "two workers", "overhead", "two ÷ one process", "two ÷ one worker"]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    page = _PAGE.format(
        cores=os.cpu_count(),
        load=load,
        turns=turns,
        rates=tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True),
        simulated=simulated,
        sleepers=_SLEEPERS,
        slept=_slept(params, simulated),
        shares=_shares(params, simulated),
    )
    click.echo(page)
    if output is not None:
        write_text(output, page)


_PAGE = """# Workers

`python -m benchmarks.workers`, on the demo: one thread per process, start-up apart, on {cores} cores with a load of
{load} at the end (1, 5 and 15 minutes). A process without Ray and workers take turns, {turns} of each, one worker on
the core that the process has; rates are medians with their range, ratios medians over the turns. The overhead is that
of one worker.

{rates}

## The driver's share

Between two batches the driver asks the sampler, and workers wait. The share of the wall clock that this takes, over
{simulated} trials with as many trials in a batch as there are workers, by what a trial takes.

Measured: {sleepers} worker processes of a local Ray cluster, which sleep instead of measuring a trial. What the driver
and Ray need to hand out trials and to take results is in it.

{slept}

Computed from the seconds that the sampler takes alone:

{shares}

Where trials are shorter than in the last column, set `optimize.sampler` to `tpe_constrained`, or use fewer workers: a
larger batch does not help, since every trial is asked for by itself.
"""


def _one_thread(params: Params) -> Params:
    """Let a process compute with one thread, and measure each trial by itself, so that workers can share them."""
    runtime = params.runtime.model_copy(
        update={"device": "cpu", "threads": 1, "progress": "none", "backend": "weights", "workers": 1}
    )
    return params.model_copy(update={"runtime": runtime})


def _search_rates(params: Params, count: int, turns: int) -> list[Rates]:
    base = read_base()
    files = read_files(params, base)
    positions = len(files.directions)
    optimize = params.optimize.model_copy(update={"batch": count})
    trials = [trial_parameters(sampled) for sampled in ask_batch([], optimize, layers=base.layers, positions=positions)]
    model = ModelSetup(base, Path.cwd(), params.runtime, "float32")
    setup = SearchSetup(model, files, optimize, shared_settings(params))
    alone = SearchWorker(setup, None, trials[:1])

    @contextmanager
    def in_workers(workers: int) -> Iterator[Callable[[], object]]:
        with open_pool(params.runtime.model_copy(update={"workers": workers})) as pool:
            objective = prepare_workers(pool, setup, [], None)
            pool.wait_until_ready()
            yield partial(_all_trials, objective, trials)

    return _rates(partial(alone.measure, trials, ANY_TRIAL), in_workers, count, turns)


def _all_trials(objective: ParallelObjective, trials: Sequence[TrialParameters]) -> object:
    return objective.evaluate(trials)


def _extraction_rates(params: Params, turns: int) -> list[Rates]:
    base = read_base()
    prompts = {
        (name, split): [row.tokens for row in read_tokens(name, split)] for split in MEASURED_SPLITS for name in SETS
    }
    make = partial(
        ResidualWorker,
        ModelSetup(base, Path.cwd(), params.runtime, "float32"),
        prompts,
        params.residuals.positions,
    )
    alone = make()
    jobs = [
        (*key, batch)
        for key, rows in prompts.items()
        for batch in by_token_budget(
            [len(tokens) for tokens in rows], alone.most_tokens(), padding_sensitive=base.padding_sensitive
        )
    ]

    @contextmanager
    def in_workers(workers: int) -> Iterator[Callable[[], object]]:
        with open_pool(params.runtime.model_copy(update={"workers": workers})) as pool:
            pool.prepare(make)
            pool.wait_until_ready()
            yield partial(_all_batches, pool, jobs)

    return _rates(lambda: [alone.extract(*job) for job in jobs], in_workers, sum(map(len, prompts.values())), turns)


def _all_batches(pool: Pool, jobs: Sequence[tuple[object, ...]]) -> object:
    return list(pool.run("extract", jobs, ahead=1))


def _rates(
    alone: Callable[[], object],
    in_workers: Callable[[int], AbstractContextManager[Callable[[], object]]],
    units: int,
    turns: int,
) -> list[Rates]:
    """Let this process and one worker take turns, then this process and two; each runs once before it is timed.

    The speed of a shared machine changes within minutes, and its processors differ: so turns are short, each begins
    with the other way, and one worker computes where this process just did or will. Two take all processors.
    """
    rates = []
    for workers in (1, 2):
        _run_on(_CORES, psutil.Process())  # Ray's processes begin on its cores
        found = Rates([], [])
        with in_workers(workers) as shared:
            alone()
            shared()
            processes = [process for process in psutil.Process().children(recursive=True) if _is_worker(process)]
            for turn in range(turns):
                core = {sorted(_CORES)[turn // 2 % len(_CORES)]}
                _run_on(core if workers == 1 else _CORES, *processes)
                # This process waits for workers on another core than theirs.
                ways = [(found.alone, alone, core), (found.workers, shared, _CORES - core or core)]
                for rates_of_way, way, cores in ways if turn % 2 == 0 else reversed(ways):
                    _run_on(cores, psutil.Process())
                    rates_of_way.append(_rate(way, units))
        rates.append(found)
    _run_on(_CORES, psutil.Process())
    return rates


def _is_worker(process: psutil.Process) -> bool:
    return "ray::Host" in " ".join(process.cmdline())


def _run_on(cores: Set[int], *processes: psutil.Process) -> None:
    """Let all threads of some processes run on these cores alone."""
    for process in processes:
        for thread in process.threads():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, cores)


def _rate(run: Callable[[], object], units: int) -> float:
    runs, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < _LEAST_SECONDS or not runs:
        run()
        runs += 1
    return runs * units / seconds


def _row(title: str, rates: Sequence[Rates], unit: str) -> list[str]:
    one, two = rates
    spans = [
        f"{median(found):,.3g} {unit}/s ({min(found):,.3g}–{max(found):,.3g})"
        for found in ([*one.alone, *two.alone], one.workers, two.workers)
    ]
    ratios = [f"{1 / one.gain - 1:+.1%}", f"{two.gain:.2f}", f"{two.gain / one.gain:.2f}"]
    return [title, *spans, *ratios]


class _Sleeper:
    """A worker that sleeps instead of measuring trials, and returns measurements by a formula."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def measure(self, trials: Sequence[TrialParameters], _: object) -> list[Measured]:
        """Sleep for each trial."""
        time.sleep(self._seconds * len(trials))
        return list(map(_by_formula, trials))


def _slept(params: Params, trials: int) -> str:
    """Return the table of the driver's share with workers that sleep."""
    rows = []
    with open_pool(Readers(_SLEEPERS)) as pool:
        for sampler, seconds in _SLEEPS:
            share = _share_asleep(pool, params, sampler, trials, seconds)
            asking = _asking_seconds(params, sampler, batch=_SLEEPERS, trials=trials) / -(-trials // _SLEEPERS)
            rows.append([f"`{sampler}`", f"{seconds:g} s", f"{share:.1%}", f"{asking / (asking + seconds):.1%}"])
    headers = ["", "a trial", "measured", "computed"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _share_asleep(pool: Pool, params: Params, sampler: Sampler, trials: int, seconds: float) -> float:
    """Return the share of the wall clock of a whole search in which not all workers are at a trial."""
    settings = params.optimize.model_copy(update={"sampler": sampler, "batch": _SLEEPERS, "trials": trials})
    objective = _crowd(pool, seconds)
    start = time.perf_counter()
    batches = list(run_study(objective.evaluate, settings, done=[], layers=read_base().layers, positions=1))
    return 1 - len(batches) * seconds / (time.perf_counter() - start)


def _crowd(pool: Pool, seconds: float) -> ParallelObjective:
    """Let all workers sleep so many seconds for a trial, and wait until all of them can."""
    pool.prepare(partial(_Sleeper, seconds), again=True)
    while pool.workers < _SLEEPERS:  # work begins before all have started
        pool.ask("measure", [], None)
    pool.wait_until_ready()
    choice = BackendChoice(backend="weights", trials_at_once=1, limits=constant_limits("auto"))
    return ParallelObjective(pool, SearchReport(1.0, 1.0, choice), 1)


def _by_formula(parameters: TrialParameters) -> Measured:
    strength = parameters.attention.max_weight + max(0.0, parameters.mlp.max_weight)
    return Measured(max(0.0, 1 - strength / 2), 0.001 + strength**2 / 100)


def _shares(params: Params, trials: int) -> str:
    """Return the table of the driver's share of the wall clock, by sampler, workers and seconds of a trial."""
    rows = []
    for sampler in _SAMPLERS:
        for workers in _CROWDS:
            asking = _asking_seconds(params, sampler, batch=workers, trials=trials) / -(-trials // workers)
            shares = [asking / (asking + seconds) for seconds in _SECONDS_OF_TRIAL]
            enough = asking * (1 - _SHARE) / _SHARE
            rows.append(
                [f"`{sampler}`", workers, f"{asking:.2f}", *(f"{share:.1%}" for share in shares), f"{enough:.0f} s"]
            )
    titles = (f"trials of {seconds:g} s" for seconds in _SECONDS_OF_TRIAL)
    headers = ["", "workers", "s per batch", *titles, f"at most {_SHARE:.0%} from"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _asking_seconds(params: Params, sampler: Sampler, *, batch: int, trials: int) -> float:
    """Return the seconds that the driver asks in a whole search, on measurements by a formula."""
    settings = params.optimize.model_copy(update={"sampler": sampler, "batch": batch, "trials": trials})
    layers, seconds = read_base().layers, 0.0
    outcomes: list[TrialOutcome] = []
    while len(outcomes) < trials:
        start = time.perf_counter()
        asked = ask_batch(outcomes, settings, layers=layers, positions=1)
        seconds += time.perf_counter() - start
        for number, sampled in enumerate(asked, len(outcomes)):
            parameters = trial_parameters(sampled)
            outcomes.append(TrialOutcome(number, sampled, parameters, _by_formula(parameters), "", 0.0))
    return seconds


if __name__ == "__main__":
    main()
