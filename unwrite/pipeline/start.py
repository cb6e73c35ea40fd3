"""The first second of a stage: say what it does, and make Ctrl-C one line even while imports run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it: 128 + SIGINT."""
MESSAGE = "Interrupted; nothing was left half-written. Run `dvc repro` to start this stage again."
_PACKAGE = "unwrite.stages."
_PIPELINE = Path("dvc.yaml")


def start_stage(command: Sequence[str]) -> None:
    """Say what a stage is about to do, and show Ctrl-C as one line from now on.

    Args:
        command: the command line of Python, which runs a module of the package `unwrite.stages`.
    """
    sys.excepthook = _one_line_if_interrupted
    modules = (word.removeprefix(_PACKAGE) for word in command if word.startswith(_PACKAGE))
    name = next(modules, None)
    if name is not None:
        sys.stderr.write(f"{name}: {_description(name)}\n")
        sys.stderr.flush()


def _description(name: str) -> str:
    """Return what dvc.yaml says about a stage, without reading all of it as YAML, which takes half a second."""
    text = _PIPELINE.read_text(encoding="utf-8") if _PIPELINE.is_file() else ""
    found = re.search(rf"^  {re.escape(name)}:\n    desc: (.*)$", text, re.MULTILINE)
    return found[1] if found else "starting"


def _one_line_if_interrupted(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stderr.write(f"{MESSAGE}\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)  # Python would end with the signal itself, which DVC reports as -2
