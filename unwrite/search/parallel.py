"""The objective of a search in many workers: the same measurements, whoever makes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import TrialParameters
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.backends import Result
from unwrite.search.racing import ANY_TRIAL, Standard
from unwrite.search.space import trial_parameters
from unwrite.search.study import ask_batch
from unwrite.search.trial_progress import TrialProgress
from unwrite.search.trials import TrialOutcome
from unwrite.search.worker import SearchReport, SearchSetup, SearchWorker
from unwrite.workers.pool import Pool


class ParallelObjective:
    """Measures trials in workers (`runner.Measurer`).

    Attributes:
        choice: how trials are measured; None if no trial was left to choose by.
        base_rate: behaviour rate of the base model on the target prompts.
        prompts: prompts of a trial.
        share_of_raced: `EvaluationContext.share_of_raced`.
    """

    def __init__(self, pool: Pool, report: SearchReport, prompts: int) -> None:
        """Hold the workers and what the first of them reported."""
        self.base_rate, self.share_of_raced, self.choice = report
        self.prompts = prompts
        self._pool = pool
        self._progress: TrialProgress | None = None

    def show_progress(self, progress: TrialProgress) -> None:
        """Report every further measurement, and how many workers are at it."""
        self._progress = progress
        progress.show_workers(self._pool.describe)

    def evaluate(self, trials: Sequence[TrialParameters], standard: Standard = ANY_TRIAL) -> list[Result]:
        """Measure some trials, each as far as it can still meet the standard.

        Trials share a forward pass as they do in one process: groups are cut before they are handed out. A trial that
        fails gives an UnwriteError, and so does one that three workers died of.
        """
        groups = [[number] for number in range(len(trials))]
        if self.choice is None or self.choice.backend == "activations":
            groups = self._pool.ask("groups", trials)
        jobs = [([trials[number] for number in group], standard) for group in groups]
        results: dict[int, Result] = {}
        for job, outcome in self._pool.run("measure", jobs):
            measured = [outcome] * len(groups[job]) if isinstance(outcome, UnwriteError) else outcome
            results |= zip(groups[job], measured, strict=True)
            for _ in groups[job]:
                if self._progress is not None:
                    self._progress.end_trial()
        return [results[number] for number in range(len(trials))]


def prepare_workers(
    pool: Pool, setup: SearchSetup, done: Sequence[TrialOutcome], earlier: BackendChoice | None
) -> ParallelObjective:
    """Let workers load and measure the base model, and return the objective.

    The first worker settles how trials are measured, and the others do as it does: they begin when it has.

    Args:
        pool: workers.
        setup: what they are given.
        done: the trials so far.
        earlier: the choice of an earlier part of the search, if any.

    Raises:
        UnwriteError: as in `prepare_objective`, or a worker lacks the model.
    """
    base, optimize = setup.files.base, setup.optimize
    first_batch: list[TrialParameters] = []
    if earlier is None and len(done) < optimize.trials:
        asked = ask_batch(done, optimize, layers=base.layers, positions=len(setup.files.directions))
        first_batch = [trial_parameters(sampled) for sampled in asked]
    pool.prepare(partial(SearchWorker, setup, earlier, first_batch), most=1, again=True)
    report: SearchReport = pool.ask("report")
    pool.prepare(partial(SearchWorker, setup, report.choice))
    return ParallelObjective(pool, report, len(setup.files.target) + len(setup.files.baseline))
