"""The folder of a local Ray, deleted with it; those of drivers that were killed are deleted by the next one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX, _LOCK = "unwrite-ray-", "driver.lock"
_LONGEST_PARENT = 17  # our folder adds 21 characters, Ray up to 65; a socket's path has at most 103 on macOS


@contextmanager
def ray_folder() -> Iterator[str]:
    """Yield a new temporary folder, deleted at the end, after deleting those that killed drivers left behind.

    The driver holds a lock in its folder, which the system releases however the driver ends.
    """
    parent = Path(tempfile.gettempdir())
    if len(os.fsencode(parent)) > _LONGEST_PARENT:
        parent = Path("/tmp")
    for folder in parent.glob(f"{_PREFIX}*"):
        _delete_if_left(folder)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True) as name,
        FileLock(Path(name, _LOCK)),
    ):
        yield name


def _delete_if_left(folder: Path) -> None:
    """Delete a folder of this user whose lock is free; one without a lock has just been made."""
    with suppress(Timeout, OSError):
        if folder.lstat().st_uid == os.getuid() and not folder.is_symlink() and (folder / _LOCK).is_file():
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
