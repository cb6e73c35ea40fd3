"""Git LFS pointers: the few lines of text that git leaves in place of a large file where Git LFS is not installed."""

from __future__ import annotations

from pathlib import Path

from unwrite.errors import UnwriteError

_BEGINNING = b"version "
"""How a pointer begins. As the length of a safetensors header, it is more than any file has."""


def refuse_pointer(file: Path, name: str | None = None) -> None:
    """Refuse a file that is a pointer.

    Args:
        file: an existing file.
        name: its name in the error; by default its path.

    Raises:
        UnwriteError: the file is a Git LFS pointer.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        refuse_pointer_bytes(stream.read(len(_BEGINNING)), name or str(file))


def refuse_pointer_bytes(beginning: bytes, name: str) -> None:
    """Refuse a file by its first eight bytes, or more; as in `refuse_pointer`."""
    if beginning.startswith(_BEGINNING):
        raise UnwriteError(f"{name} is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository.")
