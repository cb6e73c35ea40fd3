"""Files and folders that appear whole or not at all: written under a temporary name, synced, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from unwrite.errors import UnwriteError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` on a clean exit, and remove it otherwise.

    Raises:
        UnwriteError: the disk is full, or the folder cannot be written.
    """
    temporary = _temporary(path)
    with _named_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new empty folder next to `path`; on a clean exit sync its files and replace `path` with it.

    The old folder stays until the new one replaces it, whatever fails. Leftovers of a killed run are first removed or
    restored.

    Raises:
        UnwriteError: the disk is full, or the parent folder cannot be written.
    """
    temporary, old = _temporary(path), path.with_name(f".{path.name}.old")
    with _named_os_errors(path):
        if old.exists() and not path.exists():  # killed between the two renames below
            old.rename(path)
        if old.is_symlink():  # a link to a folder was replaced; what it leads to stays
            old.unlink()
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for entry in sorted(temporary.rglob("*"), reverse=True):
                _sync(entry)
            _sync(temporary)
            if path.exists():
                path.rename(old)
            try:
                temporary.rename(path)
            except OSError:
                if old.exists():
                    old.rename(path)
                raise
            _sync(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    # A fixed name, so that leftovers of killed runs are overwritten by the next run and do not accumulate.
    return path.with_name(f".{path.name}.tmp")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _named_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise  # the folder exists, so the missing file is one that the caller reads or has not written
    except OSError as error:
        remedy = "Fix the folder's permissions"
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            remedy = f"Free some space ({shutil.disk_usage(_existing_parent(path)).free / 1e6:.0f} MB are free)"
        raise UnwriteError(
            f"Cannot write {path}: {error.strerror or error}. {remedy} and run again; nothing was left half-written."
        ) from error


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())


def check_free_space(path: Path, needed: int) -> None:
    """Check that there is enough space for a file or folder, before long work.

    Args:
        path: the path of the file or folder to write.
        needed: its size in bytes.

    Raises:
        UnwriteError: the disk has less free space.
    """
    free = shutil.disk_usage(_existing_parent(path)).free
    if free < needed:
        raise UnwriteError(
            f"{path} needs {needed / 1e6:.0f} MB but only {free / 1e6:.0f} MB are free: free some space and run again."
        )


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes in the kernel, which shares blocks (reflink) if the file system supports it.

    Raises:
        UnwriteError: the source changed while it was copied.
    """
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            remaining = os.fstat(reader.fileno()).st_size
            while remaining and (copied := os.copy_file_range(reader.fileno(), writer.fileno(), remaining)):
                remaining -= copied
        if remaining:
            raise OSError(errno.EOPNOTSUPP, "copies nothing")  # the case on some network file systems
    except (AttributeError, OSError) as error:
        # Unsupported by this system or between these file systems; anything else (a full disk) is a real failure.
        if isinstance(error, OSError) and error.errno not in {
            errno.EXDEV,
            errno.ENOSYS,
            errno.EOPNOTSUPP,
            errno.EINVAL,
            errno.EPERM,
        }:
            raise
        shutil.copyfile(source, target)
    if target.stat().st_size != source.stat().st_size:
        raise UnwriteError(f"{source} changed while it was copied. Run the stage again.")
