"""The state of the project's git repository: its commit, and the changes since."""

from __future__ import annotations

import subprocess
from typing import NamedTuple

from unwrite.errors import UnwriteError

# In every folder: an example's pipeline runs in its own, and the code is in another.
_WRITTEN_BY_A_PIPELINE = (":(top,exclude,glob)**/dvc.lock", ":(top,exclude,glob)**/artifacts/**")


class GitState(NamedTuple):
    """The commit of the project, and whether its tree was clean; both None outside a repository."""

    commit: str | None
    clean: bool | None


def git_state() -> GitState:
    """Return the state of the repository's tree, ignoring the files that pipelines write."""
    commit = _output("rev-parse", "HEAD")
    status = _output("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *_WRITTEN_BY_A_PIPELINE)
    return GitState(commit, None if status is None else status == "")


def uncommitted_changes() -> list[str]:
    """Return the tracked files that differ from the last commit.

    Raises:
        UnwriteError: git is not installed, or this is not a repository.
    """
    try:
        status = _run("status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:
        raise UnwriteError("git is not installed, so the commit cannot be recorded") from None
    if status.returncode:
        raise UnwriteError("this is not a git repository, so there is no commit to record")
    return [line[3:] for line in status.stdout.splitlines()]


def _output(*arguments: str) -> str | None:
    """Return the output of git; None if it fails or is not installed."""
    try:
        process = _run(*arguments)
    except FileNotFoundError:
        return None
    return process.stdout.strip() if process.returncode == 0 else None


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
