"""The same work on several files at once, in threads: reading, hashing and torch all release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[T, Callable[[], None]], R], items: Sequence[T], threads: int) -> list[R]:
    """Return the result of `work` for each item, in the order of the items.

    After an error or an interrupt, the other threads stop at their next call of the function that they get as second
    argument, so `work` should call it often. No thread is left when this returns.

    Args:
        work: called with an item, and with a function that raises once the thread should stop.
        items: what to work on.
        threads: how many items at once.

    Raises:
        Exception: what `work` raised; of several errors, the first in the order of the items.
    """
    _keep_freed_memory()
    stopped = Event()

    def end_if_stopped() -> None:
        if stopped.is_set():
            raise CancelledError

    with ThreadPoolExecutor(max(1, threads)) as pool:
        jobs = [pool.submit(work, item, end_if_stopped) for item in items]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
    for job in jobs:
        if not job.cancelled() and (error := job.exception()) is not None and not isinstance(error, CancelledError):
            raise error
    return [job.result() for job in jobs]


def _keep_freed_memory() -> None:
    """Make the C library (glibc) keep freed blocks of some megabytes for the next use, as it does after a large one.

    Otherwise it returns them each time, and threads wait for one another while the system finds new pages.
    """
    bytes(31 << 20)
