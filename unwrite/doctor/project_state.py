"""The project itself: its parameters, folders that stages write, git, and the unwrite that its artifacts are of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from unwrite.doctor.diagnosis import Diagnosis
from unwrite.errors import UnwriteError
from unwrite.pipeline.check import check_params
from unwrite.pipeline.git import OUTSIDE, git_state, uncommitted_changes
from unwrite.pipeline.runs import stage_names
from unwrite.projects.installed_code import changed_code, installed_code, upgrade_text
from unwrite.projects.pipeline_text import CODE
from unwrite.schema.params import PARAMS_FILE

_WRITTEN = (".unwrite", "artifacts", ".dvc")


def examine_params() -> Iterator[Diagnosis]:
    """Check params.yaml and the files it names."""
    try:
        notes = check_params(PARAMS_FILE)
    except UnwriteError as error:
        yield Diagnosis("stop", str(error))
        return
    yield from (Diagnosis("note", note) for note in notes)
    yield Diagnosis("ok", f"{PARAMS_FILE} is valid, and so are the files it names.")


def examine_folders(folder: Path) -> Iterator[Diagnosis]:
    """Find the folders that stages write, and cannot."""
    for name in _WRITTEN:
        path = folder / name
        existing = path if path.exists() else folder
        if not os.access(existing, os.W_OK | os.X_OK):
            fact = f"{existing} cannot be written, where stages keep their state."
            yield Diagnosis("stop", fact, f"chmod u+wx {existing}.")


def examine_git() -> Iterator[Diagnosis]:
    """Say what git would record of a run."""
    try:
        changed = uncommitted_changes()
    except UnwriteError as error:
        reason = str(error).rstrip(".")
        remedy = "`git init` makes a repository." if OUTSIDE in reason else ""  # any other reason has its own
        yield Diagnosis("note", f"Runs record no commit: {reason}.", remedy)
        return
    if git_state().commit is None:
        yield Diagnosis("note", "git has no commit yet, so runs record none.", "git add . && git commit.")
    elif changed:
        shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        yield Diagnosis("note", f"Uncommitted changes: {shown}.", "commit them before you publish.")
    else:
        yield Diagnosis("ok", "git has no uncommitted changes of tracked files.")


def examine_upgrade() -> Iterator[Diagnosis]:
    """Say which stages an upgrade of unwrite makes run again."""
    if not CODE.is_dir():
        return
    changed = changed_code(installed_code())
    if text := upgrade_text(changed):
        yield Diagnosis("note", text, "`dvc repro` runs them again.")


def runs_here() -> bool:
    """Return whether the current folder has a pipeline of unwrite."""
    try:
        return "pin_model" in stage_names()
    except (UnwriteError, ValueError, KeyError):
        return False
