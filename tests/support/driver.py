"""A search in a process, to be killed anywhere: it writes few bytes at a time, and sends a dot after each write."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple

from tests.support.example import KEY, evaluate, settings
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import TrialParameters
from unwrite.search.state import search_state
from unwrite.search.study import run_study
from unwrite.search.trials import Measured, write_trials

_IMPORTED = ("torch", "optuna", "unwrite.search.state", "unwrite.search.study", "unwrite.search.trials")
_write = os.write


class Driver(NamedTuple):
    """The process of a search, and where its dots arrive; `recv_bytes` raises EOFError once the process has ended."""

    process: multiprocessing.process.BaseProcess
    dots: Connection


def start_search(trials: int) -> Driver:
    """Start a search in the current folder: a new process, forked from one that has imported the libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_search, args=(trials, sender))
    process.start()
    sender.close()
    return Driver(process, receiver)


def _search(trials: int, dots: Connection) -> None:
    """Search from where the record ends, and write trials.csv after each batch."""
    setattr(os, "write", partial(_write_a_little, dots))  # noqa: B010
    section = settings(trials=trials)
    with search_state(KEY) as state:
        outcomes = list(state.done)
        for batch in run_study(partial(_evaluate, dots), section, done=state.done, layers=9, positions=2):
            state.add(batch)
            outcomes += batch
            write_trials(outcomes[: section.trials])
        write_trials(outcomes[: section.trials])  # also if the last kill came after the last batch


def _evaluate(dots: Connection, trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
    dots.send_bytes(b".")
    return evaluate(trials)


def _write_a_little(dots: Connection, descriptor: int, data: memoryview) -> int:
    written = _write(descriptor, bytes(data)[:200])
    dots.send_bytes(b".")
    return written
