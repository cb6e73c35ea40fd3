"""A search in its own process, to be killed anywhere: it writes few bytes at a time and prints a dot after each write.

Run as `python -m tests.support.driver TRIALS`, in a folder of its own. It prints nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tests.support.example import KEY, evaluate, settings
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import TrialParameters
from unwrite.search.state import search_state
from unwrite.search.study import run_study
from unwrite.search.trials import Measured, write_trials

_write = os.write


def main() -> None:
    """Search from where the record ends, and write trials.csv after each batch."""
    setattr(os, "write", _write_a_little)  # noqa: B010
    section = settings(trials=int(sys.argv[1]))
    with search_state(KEY) as state:
        outcomes = list(state.done)
        for batch in run_study(_evaluate, section, done=state.done, layers=9, positions=2):
            state.add(batch)
            outcomes += batch
            write_trials(outcomes[: section.trials])
        write_trials(outcomes[: section.trials])  # also if the last kill came after the last batch


def _evaluate(trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
    _write(1, b".")
    return evaluate(trials)


def _write_a_little(descriptor: int, data: memoryview) -> int:
    written = _write(descriptor, bytes(data)[:200])
    _write(1, b".")
    return written


if __name__ == "__main__":
    main()
