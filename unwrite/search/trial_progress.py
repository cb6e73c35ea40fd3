"""The progress of a search: which trial is being measured, how far, the best so far, and the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from unwrite.pipeline.progress import OnProgress, Style, progress

_RUN_IN_FULL = 0.15
"""The share of trials after the first batch that are expected to run in full."""


class TrialProgress:
    """Where a search is; mutable. A trial that ends early jumps to its end."""

    def __init__(self, report: OnProgress, *, trials: int, prompts: int, done: int, weights: Sequence[float]) -> None:
        """Begin after the trials that are done.

        Args:
            report: takes the work done, in trials that run in full.
            trials: trials of the whole search.
            prompts: prompts of a trial.
            done: trials that are done.
            weights: the expected work of each trial.
        """
        self._report, self._trials, self._prompts, self._weights = report, trials, prompts, weights
        self._number, self._measured, self._best = done, 0, ""
        self._workers: Callable[[], str] | None = None

    def show_workers(self, describe: Callable[[], str]) -> None:
        """Show what workers do in place of the prompts of one trial; trials end in any order.

        Args:
            describe: says how many trials run, and on how many workers.
        """
        self._workers = describe

    def advance(self, prompts: int) -> None:
        """Count prompts of the present trial."""
        counted = min(prompts, self._prompts - self._measured)
        self._measured += counted
        self._say(self._weight() * counted / self._prompts)

    def end_trial(self) -> None:
        """Go to the next trial."""
        left = self._weight() * (self._prompts - self._measured) / self._prompts
        self._number, self._measured = self._number + 1, 0
        self._say(left)

    def set_best(self, best: str) -> None:
        """Show another best trial."""
        self._best = f"best so far: {best}"
        self._say(0)

    def _weight(self) -> float:
        return self._weights[min(self._number, len(self._weights) - 1)]

    def _say(self, done: float) -> None:
        title = f"trial {self._number + 1} of {self._trials}, {self._measured} of {self._prompts} prompts"
        if self._workers is not None:
            title = f"{self._number} of {self._trials} trials, {self._workers()}"
        if self._number >= self._trials:
            title = f"{self._trials} trials"
        self._report(done, self._best, title)


@contextmanager
def trial_progress(
    *, trials: int, batch: int, prompts: int, share_of_raced: float, style: Style, done: int
) -> Iterator[TrialProgress]:
    """Show the progress of a search while open.

    Args:
        trials: trials of the whole search.
        batch: trials that are asked for together; those of the first run in full, and most others are stopped.
        prompts: prompts of a trial.
        share_of_raced: the work of a trial that is stopped as early as it can be, as a share of one that is not.
        style: how progress is shown.
        done: trials done by an earlier run.
    """
    later = share_of_raced + _RUN_IN_FULL * (1 - share_of_raced)
    count = max(trials, done + batch)
    weights = [1.0 if number < batch else later for number in range(count)]
    with progress("trials", sum(weights[:trials]), style, sum(weights[:done]), counted=False) as report:
        yield TrialProgress(report, trials=trials, prompts=prompts, done=done, weights=weights)
