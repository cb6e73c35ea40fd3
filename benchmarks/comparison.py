"""Ways to do the same, compared: alternated in one process for time, each in a fresh process for memory."""

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
    """Seconds that each way took in each round.

    A round runs each way once, and begins one further on than the round before, so that none is always first.

    Args:
        ways: What to time, by name.
        repeats: Rounds.
        between: Run after each, untimed.
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
    """Median and range."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), median(values), max(values)))
    return f"{middle} ({low}–{high})"


def ratio(one: Sequence[float], other: Sequence[float]) -> str:
    """How many times as long one took as the other: median and range over the rounds."""
    return spread([a / b for a, b in zip(one, other, strict=True)])


def peak_memory(function: Callable[..., object], *arguments: Any) -> float:
    """The highest resident memory, in MB, of a fresh process that calls the function.

    The process has a high-water mark of its own because it is spawned: a forked one would begin at this one's. It
    begins in this one's folder; function and arguments must be ones that can be sent to it.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, function, arguments).result()


def _peak(function: Callable[..., object], arguments: Sequence[Any]) -> float:
    import torch

    torch.set_num_threads(1)
    quiet()
    function(*arguments)
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1e3


def quiet() -> None:
    """No bars and warnings of libraries between the tables."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # which PEFT imports
    warnings.simplefilter("ignore")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as a table that both a terminal and a page of Markdown show."""
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
