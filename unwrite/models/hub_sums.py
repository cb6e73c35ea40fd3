"""The sums by which the hub's cache names its files, against the files: a damaged download is found offline too.

The cache links each file of a commit to one named after the hub's sum of it: the sha256 of a large file, git's sha1 of
a small one (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from unwrite.errors import UnwriteError

_SUM = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def refuse_wrong_sums(folder: Path, sha256: Mapping[str, str]) -> None:
    """Refuse files of the hub's cache that are not those that the hub lists.

    A file without a sum in the cache is not checked: on a disk without links, or from a mirror with sums of its own.

    Args:
        folder: the folder of a commit in the hub's cache.
        sha256: the sha256 of each file as it is, by name.

    Raises:
        UnwriteError: a file has another sum; the message names the first one, and what to remove.
    """
    for name, actual in sha256.items():
        path = folder / name
        listed = _listed_sum(path)
        if listed is None:
            continue
        own = actual if len(listed) == 64 else _git_sum(path)
        if own != listed:
            kind = "sha256" if len(listed) == 64 else "git sum"
            raise UnwriteError(
                f"{name} has {kind} {own[:12]}…, but the hub lists {listed[:12]}…: the download is damaged. "
                f"Remove {path.resolve()} and run again."
            )


def _listed_sum(path: Path) -> str | None:
    name = path.readlink().name if path.is_symlink() else ""
    return name if _SUM.fullmatch(name) else None


def _git_sum(path: Path) -> str:
    data = path.read_bytes()  # what git itself keeps is small
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
