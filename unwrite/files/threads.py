"""The same work on several files at once: here in threads, since reading, hashing and torch all release the GIL."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Event, Lock
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_SWITCH_SECONDS = 5e-4


class Tick(Protocol):
    """What work calls often: with the units it has done since the last call; it raises an error once it should stop."""

    def __call__(self, done: int = 0, /) -> None: ...  # noqa: D102


class FileMap(Protocol):
    """Does the same work on several files at once, in threads or in other processes, and returns the results in order.

    Called with the work, a function of a module so that it can be sent elsewhere; the items; and what is called with
    the units that are done.
    """

    def __call__(  # noqa: D102
        self, work: Callable[[T, Tick], R], items: Sequence[T], advance: Callable[[int], None] = ...
    ) -> list[R]: ...


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ignore_progress(_: int) -> None:
    """Show no progress."""


def map_in_threads(threads: int) -> FileMap:
    """Return the map that works on so many items at once, in threads of this process."""

    def mapped(
        work: Callable[[T, Tick], R], items: Sequence[T], advance: Callable[[int], None] = ignore_progress
    ) -> list[R]:
        return in_threads(work, items, threads, advance)

    return mapped


def in_threads(
    work: Callable[[T, Tick], R], items: Sequence[T], threads: int, advance: Callable[[int], None] = ignore_progress
) -> list[R]:
    """Return the result of `work` for each item, in the order of the items.

    After an error or an interrupt, the other threads stop when they next call the function that `work` receives as its
    second argument, so `work` should call it often. No thread is still running on return.

    Args:
        work: called with an item and a function to call often.
        items: the items to work on.
        threads: the number of items at once.
        advance: called with the units that `work` has done, by one thread at a time.

    Raises:
        Exception: any error of `work`; of several, the first in the order of the items.
    """
    _reuse_freed_blocks()
    stopped, lock = Event(), Lock()

    def tick(done: int = 0, /) -> None:
        if stopped.is_set():
            raise CancelledError
        if done:
            with lock:
                advance(done)

    with _quick_handover(), ThreadPoolExecutor(max(1, threads)) as pool:
        jobs = [pool.submit(work, item, tick) for item in items]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
    for job in jobs:
        if not job.cancelled() and (error := job.exception()) is not None and not isinstance(error, CancelledError):
            raise error
    return [job.result() for job in jobs]


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread for each operation while open, since files are worked on in threads of their own."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quick_handover() -> Iterator[None]:
    """Let a thread that has read or computed a block wait for the GIL only as long as that took, not ten times."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@cache
def _reuse_freed_blocks() -> None:
    """Raise glibc's mmap threshold, by freeing one large block, so that freed blocks of a few megabytes are reused.

    Otherwise they return to the system each time, and threads wait for one another while it maps new pages. Once in a
    process is enough: the threshold never falls again. Stages keep larger blocks too (`models/allocator.py`).
    """
    bytes(31 << 20)
