"""Hand out jobs to workers, and take results: a job whose worker died is done again."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unwrite.errors import UnwriteError
from unwrite.pipeline.progress import Style, progress
from unwrite.workers.cluster import Wanted, open_cluster
from unwrite.workers.crew import Crew

if TYPE_CHECKING:
    from unwrite.pipeline.environment import Environment

_MOST_DEATHS = 3

logger = logging.getLogger(__name__)


class Pool:
    """Workers that share jobs; mutable."""

    def __init__(self, crew: Crew) -> None:
        """Begin without jobs."""
        self._crew = crew
        self._jobs = 0

    @property
    def workers(self) -> int:
        """How many workers run."""
        return self._crew.alive

    @property
    def running(self) -> int:
        """How many jobs workers have."""
        return sum(len(worker.jobs) for worker in self._crew.workers)

    def describe(self) -> str:
        """Return how many jobs run on how many workers, in a few words for progress."""
        return f"{self.running} running on {self.workers} workers"

    def environment(self, dtype: str) -> Environment:
        """Return what the workers compute on, in this dtype, for the record of the run.

        Raises:
            ValueError: no worker has been ready.
        """
        if self._crew.notices.environment is None:
            raise ValueError("no worker has been ready")
        return self._crew.notices.environment.model_copy(update={"dtype": dtype})

    def prepare(self, make: Callable[[], Any], most: int | None = None, *, again: bool = False) -> None:
        """Let workers make the object whose methods are the jobs (`Crew.prepare`)."""
        self._crew.prepare(make, most, again=again)

    def wait_until_ready(self) -> None:
        """Wait until every worker has made its object.

        Raises:
            UnwriteError: one could not.
        """
        while not self._crew.is_ready:
            self._crew.next_event()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Return the result of one job, from the first worker that is free.

        Raises:
            UnwriteError: three workers died of it, or as in `run`.
        """
        ((_, result),) = self.run(method, [arguments])
        if isinstance(result, UnwriteError):
            raise result
        return result

    def run(self, method: str, jobs: Sequence[tuple[Any, ...]], *, ahead: int = 0) -> Iterator[tuple[int, Any]]:
        """Yield the number and the result of each job when it has ended, in any order.

        The result of a job that three workers died of is an UnwriteError that says so.

        Args:
            method: method of the object that workers made.
            jobs: the arguments of each call.
            ahead: jobs that wait at a worker while it is at another one, so that short ones lose no time.

        Raises:
            UnwriteError: a worker raised one.
            RayTaskError: a worker raised anything else.
        """
        numbers = dict(enumerate(range(len(jobs)), self._jobs))  # ids are unique: a run can be left before its end
        self._jobs += len(jobs)
        waiting, suspects, deaths = deque(numbers), set[int](), Counter[int]()
        arguments = {job: jobs[number] for job, number in numbers.items()}
        while numbers:
            self._hand_out(method, arguments, waiting, suspects, ahead)
            event = self._crew.next_event()
            if event is None or event.kind == "ready":
                continue
            if event.kind == "ended" and event.job in numbers:
                self._hand_out(method, arguments, waiting, suspects, ahead)
                yield numbers.pop(event.job), event.result
            elif event.kind == "died":
                lost = [job for job in event.worker.jobs if job in numbers]
                waiting.extendleft(reversed(lost))
                if len(lost) == 1:  # of several, any may be the cause: the answers before it can be lost too
                    deaths.update(lost)
                suspects.update(lost)
                if lost and deaths[lost[0]] == _MOST_DEATHS:
                    waiting.remove(lost[0])
                    yield numbers.pop(lost[0]), _gave_up()

    def _hand_out(
        self,
        method: str,
        jobs: Mapping[int, tuple[Any, ...]],
        waiting: deque[int],
        suspects: Set[int],
        ahead: int,
    ) -> None:
        """Give jobs to the workers that have the fewest, until each has one and `ahead` more; suspects stay alone."""
        ready = [worker for worker in self._crew.workers if worker.is_ready]
        while waiting and ready:
            worker = min(ready, key=lambda one: len(one.jobs))
            alone = suspects & {waiting[0], *worker.jobs}
            if len(worker.jobs) > (0 if alone else ahead):
                return
            job = waiting.popleft()
            self._crew.give(worker, job, method, jobs[job])


def finished_batches(
    pool: Pool, method: str, jobs: Sequence[tuple[Any, ...]], title: str, style: Style, *, ahead: int = 0
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Run jobs that end with the rows of a batch; yield each with its result, in any order, and show the progress.

    Args:
        pool: workers.
        method: method of the object that they made.
        jobs: the arguments of each call, the last of them row numbers.
        title: what the progress is called.
        style: how it is shown.
        ahead: as in `Pool.run`.

    Raises:
        UnwriteError: a worker raised one, or three workers died of a batch.
    """
    with progress(title, sum(len(job[-1]) for job in jobs), style) as advance:
        for number, result in pool.run(method, jobs, ahead=ahead):
            if isinstance(result, UnwriteError):
                raise result
            yield jobs[number], result
            advance(len(jobs[number][-1]), pool.describe())


@contextmanager
def open_pool(wanted: Wanted, most: int | None = None, at_once: int = 1) -> Iterator[Pool]:
    """Start workers, and yield them; at the end none is left.

    Args:
        wanted: more than one worker.
        most: the number of workers that have work, if that is known.
        at_once: how many jobs a worker does at a time, each in a thread.

    Raises:
        UnwriteError: as in `open_cluster`; or a worker has another version of what computes.
        ModuleNotFoundError: Ray is not installed.
    """
    # Ray prints what it makes of a worker's death; nothing else that runs meanwhile prints.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), open_cluster(wanted) as cluster:
        size = cluster.size if most is None else min(cluster.size, most)
        if size < cluster.size:
            logger.info(f"There is work for {size} of {cluster.size} workers at a time.")
        yield Pool(Crew(cluster._replace(size=size), wanted.threads, at_once))


def _gave_up() -> UnwriteError:
    return UnwriteError(
        f"{_MOST_DEATHS} workers died of it, as they do when memory runs out: lower runtime.batch_tokens, "
        "runtime.trials_at_once or the number of workers"
    )
