"""The workers of a run: started, checked, given what they need, and replaced when they die."""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from unwrite.errors import UnwriteError, is_out_of_memory, refused_file
from unwrite.workers import host
from unwrite.workers.capacity import workers_that_fit
from unwrite.workers.cluster import Cluster, nodes
from unwrite.workers.identity import Identity, difference, own_identity
from unwrite.workers.notices import Notices

_MOST_FAILED_STARTS = 3
_SECONDS_TO_CHECK = 10.0  # between two looks whether the cluster can still hold a worker at all
_SECONDS_TO_START = 60.0  # after which work begins with the workers that run
_PASSED_ON = ("HF_HUB_OFFLINE", "HF_HOME", "OMP_NUM_THREADS", "UNWRITE_TRUST_REMOTE_CODE")

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Worker:
    """One worker; mutable.

    handle: Ray's handle of its process.
    name: its machine and process; empty until it has started.
    is_ready: whether it has what it needs to work.
    jobs: the jobs it was given, the one it is at first.
    """

    handle: Any
    name: str = ""
    is_ready: bool = False
    jobs: deque[int] = field(default_factory=deque)


class Event(NamedTuple):
    """What happened: a worker is ready, has ended a job with a result, or died."""

    worker: Worker
    kind: Literal["ready", "ended", "died"]
    job: int = 0
    result: Any = None


class _Call(NamedTuple):
    """A call that Ray has not answered, and what its answer means; `made` is what a worker was to make, if it was."""

    worker: Worker
    kind: Literal["introduced", "ready", "ended"]
    job: int = 0
    made: Callable[[], Any] | None = None


class Crew:
    """Workers; mutable.

    Attributes:
        workers: those that run or will.
        notices: what they said.
    """

    def __init__(self, cluster: Cluster, threads: int, at_once: int = 1) -> None:
        """Start the workers, and wait until each has shown that it runs what this process runs.

        Args:
            cluster: where they run, and how many.
            threads: how many threads torch uses in each; 0 leaves them as they are.
            at_once: how many jobs each does at a time.

        Raises:
            UnwriteError: a worker has another version of what computes, or none can be started.
        """
        self.workers: list[Worker] = []
        self.notices = Notices()
        self._cluster, self._threads, self._identity = cluster, threads, own_identity()
        self._at_once = at_once
        self._calls: dict[Any, _Call] = {}
        self._make: Callable[[], Any] | None = None
        self._most = 0
        self._failed_starts = 0
        for _ in range(cluster.size):
            self._hire()
        deadline = time.monotonic() + _SECONDS_TO_START
        while not all(worker.name for worker in self.workers) and (not self.alive or time.monotonic() < deadline):
            self.next_event()

    @property
    def alive(self) -> int:
        """How many workers run."""
        return sum(bool(worker.name) for worker in self.workers)

    @property
    def is_ready(self) -> bool:
        """Whether every worker that runs has what it needs, and one runs."""
        return self.alive > 0 and all(worker.is_ready for worker in self.workers if worker.name)

    def prepare(self, make: Callable[[], Any], most: int | None = None, *, again: bool = False) -> None:
        """Let workers make the object that will work, from now on also those that replace others.

        Args:
            make: makes the object, in the worker; what it needs is sent along.
            most: how many workers are to make it; None for all.
            again: whether those do too that have one already.
        """
        self._make, self._most = make, self._cluster.size if most is None else most
        if again:
            for worker in self.workers:
                worker.is_ready = False
        self._prepare_missing()

    def give(self, worker: Worker, job: int, method: str, arguments: tuple[Any, ...]) -> None:
        """Give a worker a job behind those it has: a method of the object that it made."""
        worker.jobs.append(job)
        self._calls[worker.handle.call.remote(method, arguments)] = _Call(worker, "ended", job)

    def next_event(self) -> Event | None:
        """Wait until something happens, and return it; None if it concerns no job, or after ten seconds.

        Raises:
            UnwriteError: a worker raised one, or no worker is left.
            RayTaskError: a worker raised anything else; its traceback is part of the message.
            ValueError: nothing was asked of any worker.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        if not self._calls:
            raise ValueError("no worker was asked for anything")
        done, _ = ray.wait(list(self._calls), num_returns=1, timeout=_SECONDS_TO_CHECK)
        if not done:
            self._refuse_to_wait_in_vain()
            return None
        worker, kind, job, made = self._calls.pop(done[0])
        if kind == "ended":
            worker.jobs.remove(job)
        try:
            value = ray.get(done[0])
        except RayTaskError as error:
            raise self._own_error(error, worker, kind) from None
        except RayError as error:
            if kind == "ended":
                worker.jobs.appendleft(job)
            return self._died(worker, _detail(error))
        if kind == "introduced":
            self._introduced(worker, *value)
            return None
        result, said = value
        self.notices.show(said)
        if kind == "ended":
            return Event(worker, "ended", job, result)
        self._failed_starts = 0
        if made is not self._make:  # something else is wanted by now
            self._prepare_missing()
            return None
        worker.is_ready = True
        self.notices.compare(worker.name, result)
        return Event(worker, "ready")

    def _hire(self) -> None:
        import ray
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(host)  # type: ignore[no-untyped-call]
        needs = self._cluster.needs
        options = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        if self._at_once > 1:
            options["max_concurrency"] = self._at_once
        code = str(Path(__file__).parents[2])
        actor: Any = ray.remote(host.Host).options(**options)
        worker = Worker(actor.remote(code, str(Path.cwd()), _passed_on(os.environ)))
        self.workers.append(worker)
        self._calls[worker.handle.introduce.remote()] = _Call(worker, "introduced")

    def _introduced(self, worker: Worker, node: str, process: int, identity: Identity | str) -> None:
        what = identity if isinstance(identity, str) else difference(self._identity, identity)
        if what is not None:
            raise UnwriteError(
                f"The worker on {node} has {what}. Install the same versions on every node (requirements.lock), and "
                "run this again."
            )
        worker.name = f"{node} (process {process})"
        self._prepare_missing()

    def _prepare_missing(self) -> None:
        """Let workers that make nothing make the object, up to the number that is to: calls may overtake each other."""
        if self._make is None:
            return
        making = [call for call in self._calls.values() if call.kind == "ready"]
        busy = [call.worker for call in making] + [worker for worker in self.workers if worker.is_ready]
        wanted = sum(worker.is_ready for worker in self.workers) + sum(call.made is self._make for call in making)
        idle = [worker for worker in self.workers if worker.name and worker not in busy]
        for worker in idle[: max(0, self._most - wanted)]:
            call = _Call(worker, "ready", made=self._make)
            self._calls[worker.handle.prepare.remote(self._make, self._threads)] = call

    def _died(self, worker: Worker, detail: str) -> Event:
        """Replace a worker."""
        import ray

        with suppress(Exception):  # it may be cut off and alive
            ray.kill(worker.handle)
        self._calls = {ref: call for ref, call in self._calls.items() if call.worker is not worker}
        self.workers.remove(worker)
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts == _MOST_FAILED_STARTS:
                raise UnwriteError(
                    f"{_MOST_FAILED_STARTS} workers in a row died while they started, as they do when memory runs out. "
                    "Lower runtime.workers, or give a worker more GPUs (runtime.gpus_per_worker)."
                )
        logger.warning(f"A worker died ({worker.name or 'while it started'}: {detail}); another one takes its place.")
        self._hire()
        return Event(worker, "died")

    def _refuse_to_wait_in_vain(self) -> None:
        """Raise an error if no worker runs and none can."""
        if not self.alive and not workers_that_fit(nodes(), self._cluster.needs):
            raise UnwriteError(
                "No worker is left, and no node of the cluster has room for one. What is finished is kept: run "
                "`dvc repro` again when nodes are back."
            )

    def _own_error(self, error: Any, worker: Worker, kind: str) -> Exception:
        """Return the error that a worker raised: itself where a stage shows it in one line, else with its traceback."""
        cause: Exception = refused_file(error.cause) if (refused := isinstance(error.cause, OSError)) else error.cause
        if isinstance(cause, UnwriteError) and (refused or kind == "ready") and not self._cluster.is_local:
            return UnwriteError(f"On {worker.name}: {cause}")
        is_expected = isinstance(cause, UnwriteError | ModuleNotFoundError) or is_out_of_memory(cause)
        return cause if is_expected else error


def _detail(error: Exception) -> str:
    """Return what Ray knows of a death, without the advice that follows it."""
    found = re.search(r"exit detail: (.+?)(?:\. |\n|$)", str(error))
    return found[1] if found else type(error).__name__


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in _PASSED_ON if name in environment}
