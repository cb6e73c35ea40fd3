"""The same work on several files at once, in threads: reading, hashing and torch all let go of Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[T, Callable[[], None]], R], items: Sequence[T], threads: int) -> list[R]:
    """What `work` makes of each item, in the order of the items.

    After an error or an interrupt the others end as soon as they call what they are given as second argument, which
    they do every now and then; nothing runs on when this returns.

    Args:
        work: Called with an item and a function that raises once the others should end.
        items: What to work on.
        threads: How many at once.

    Raises:
        Exception: What `work` raised; of several, the first in the order of the items.
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
    """Has the C library (glibc) keep blocks of some megabytes for the next use, as it does once it saw one this large.

    Otherwise it hands them back each time, and threads wait for each other while the system finds new pages.
    """
    bytes(31 << 20)
