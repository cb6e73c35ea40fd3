"""The state of the project's git repository: its commit, and the changes since."""

from __future__ import annotations

import logging
import os
import subprocess
from typing import NamedTuple

from unwrite.errors import UnwriteError, git_refusal

# In every folder: an example's pipeline runs in its own, and the code is in another.
_WRITTEN_BY_A_PIPELINE = (":(top,exclude,glob)**/dvc.lock", ":(top,exclude,glob)**/artifacts/**")
OUTSIDE = "not a git repository"
"""Git's own words, and those of our errors, where there is no repository."""
logger = logging.getLogger(__name__)


class GitState(NamedTuple):
    """The commit of the project, and whether its tree was clean; both None outside a repository."""

    commit: str | None
    clean: bool | None


def git_state() -> GitState:
    """Return the state of the repository's tree, ignoring the files that pipelines write.

    A repository that git refuses to read counts as none, and its reason is a warning.
    """
    commit = _output("rev-parse", "HEAD")
    status = _output("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *_WRITTEN_BY_A_PIPELINE)
    return GitState(commit, None if status is None else status == "")


def uncommitted_changes() -> list[str]:
    """Return the tracked files that differ from the last commit.

    Raises:
        UnwriteError: git is not installed, this is not a repository, or git refuses to read it: it then names the
            reason, such as another owner.
    """
    try:
        status = _run("status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:
        raise UnwriteError("git is not installed, so the commit cannot be recorded") from None
    if status.returncode:
        if OUTSIDE in status.stderr:
            raise UnwriteError(f"this is {OUTSIDE}, so there is no commit to record")
        raise git_refusal(status.stderr)
    return [line[3:] for line in status.stdout.splitlines()]


def _output(*arguments: str) -> str | None:
    """Return the output of git; None if it fails or is not installed."""
    try:
        process = _run(*arguments)
    except FileNotFoundError:
        return None
    if process.returncode == 0:
        return process.stdout.strip()
    if arguments[0] == "status" and OUTSIDE not in process.stderr:
        logger.warning("No commit is recorded. %s", git_refusal(process.stderr))
    return None


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # In English, since we read git's reason.
    english = os.environ | {"LC_ALL": "C"}
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, env=english)
