"""Locks that let one process at a time do a thing in this folder."""

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
        message: start of the error that a second process gets.
        lock: file to lock.
        owner: file that names the holder of the lock.
        name: name of this process, written to `owner`.

    Raises:
        UnwriteError: another process holds the lock; it is named.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        process = owner.read_text() if owner.exists() else "just started"
        raise UnwriteError(f"{message} (process {process}): wait for it to end, or stop it.") from None
    try:
        owner.write_text(name)
        yield
    finally:
        held.release()


@contextmanager
def exclusive_run(name: str) -> Iterator[None]:
    """Keep every other run of this name out of this folder while open.

    Raises:
        UnwriteError: another run has the name; its process is named.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    message = f"{name} is already running in this folder"
    with exclusive(message, LOCKS / f"{name}.lock", LOCKS / f"{name}.pid", str(os.getpid())):
        yield
