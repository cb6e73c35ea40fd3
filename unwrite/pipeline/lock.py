"""Locks that let one process at a time do something in this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unwrite.errors import UnwriteError

LOCKS = Path(".unwrite/locks")


@contextmanager
def exclusive(message: str, lock: Path, owner: Path, name: str) -> Iterator[None]:
    """Hold a lock while open.

    Args:
        message: start of the error raised in a second process.
        lock: file to lock.
        owner: file that names the holder of the lock.
        name: name of this process, written to `owner`.

    Raises:
        UnwriteError: another process holds the lock; the message names it.
    """
    from filelock import FileLock, Timeout

    file_lock = FileLock(lock)
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        process = owner.read_text() if owner.exists() else "just started"
        raise UnwriteError(f"{message} (process {process}): wait for it to end, or stop it.") from None
    try:
        owner.write_text(name)
        yield
    finally:
        file_lock.release()


@contextmanager
def exclusive_run(name: str) -> Iterator[None]:
    """Prevent other runs with this name in this folder while open.

    Raises:
        UnwriteError: another run has the name; the message names its process.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    message = f"{name} is already running in this folder"
    with exclusive(message, LOCKS / f"{name}.lock", LOCKS / f"{name}.pid", str(os.getpid())):
        yield
