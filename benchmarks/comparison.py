"""Compare ways to do the same: alternate them in one process for time, run each in a fresh process for memory."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from tabulate import tabulate


def alternated(
    ways: Mapping[str, Callable[[], object]], repeats: int, *, between: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Measure how many seconds each way takes in each round.

    A round runs each way once, and starts one way later than the previous round, so that none is always first.

    Args:
        ways: the callables to time, by name.
        repeats: number of rounds.
        between: callback that runs after each way, untimed.
    """
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(repeats):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
            between()
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format the median and the range of some values."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), median(values), max(values)))
    return f"{middle} ({low}–{high})"


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> str:
    """Format how many times as long as the reference a way took: median and range over the rounds."""
    return spread([a / b for a, b in zip(seconds, reference, strict=True)])


def peak_memory(function: Callable[..., object], *arguments: Any) -> float:
    """Measure the peak resident memory, in MB, of a fresh process that calls the function.

    The process is spawned, so it has its own high-water mark: a forked one would start at this process's. It starts in
    the current folder; function and arguments must be picklable.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, function, arguments).result()


def _peak(function: Callable[..., object], arguments: Sequence[Any]) -> float:
    set_up()
    function(*arguments)
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1e3


def set_up() -> None:
    """Let this process compute with one thread, keep the memory that it frees as every stage does, and be silent."""
    import torch

    from unwrite.models.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    _quiet()


def _quiet() -> None:
    """Silence the progress bars and warnings of libraries, which would appear between the tables."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # which PEFT imports
    warnings.simplefilter("ignore")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format rows as a table that is readable both on a terminal and in Markdown."""
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
