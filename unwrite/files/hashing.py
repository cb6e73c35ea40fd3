"""The sha256 of files, also of two that are read side by side, and a check that files still are the recorded ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.files.threads import FileMap, Tick
from unwrite.schema.artifacts import FileDigest


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_of(folder: Path, names: Sequence[str], map_files: FileMap) -> dict[str, str]:
    """Return the sha256 of some files of a folder by name, several hashed at once."""
    return dict(zip(names, map_files(partial(_sum_of, folder), names), strict=True))


def _sum_of(folder: Path, name: str, _: Tick) -> str:
    return sha256_of(folder / name)


class PairedSums:
    """The sha256 of two files that are read side by side, block by block; what both begin with is hashed once.

    A release begins with its base's bytes up to the first edited tensor, and whole shards of the two may be equal.
    """

    def __init__(self) -> None:
        self._first = self._second = hashlib.sha256()

    def update(self, first: bytes, second: bytes) -> None:
        """Add the next bytes of both files."""
        if self._first is self._second:
            if first == second:
                self._first.update(first)
                return
            self._second = self._first.copy()
        self._first.update(first)
        self._second.update(second)

    def hexdigests(self) -> tuple[str, str]:
        """Return the sha256 of each in hexadecimal."""
        return self._first.hexdigest(), self._second.hexdigest()


def digest_of(path: Path, name: str | None = None) -> FileDigest:
    """Return the name (by default the path's last part), size and sha256 of a file."""
    return FileDigest(name=name or path.name, size=path.stat().st_size, sha256=sha256_of(path))


def verify_files(folder: Path, recorded: Iterable[FileDigest]) -> None:
    """Check that every recorded file is in a folder, unchanged.

    Raises:
        UnwriteError: a file is missing, or its size or sha256 differs; the message names the first one.
    """
    for file in recorded:
        path = folder / file.name
        if not path.is_file():
            raise UnwriteError(f"{path} is missing, but the model was pinned with it. {_REPIN}")
        size = path.stat().st_size
        check_digest(path, file, size, sha256_of(path) if size == file.size else "")


def check_digest(path: Path, recorded: FileDigest, size: int, sha256: str) -> None:
    """Check that the actual size and sha256 of a file are the recorded ones.

    Raises:
        UnwriteError: the size or sha256 differs.
    """
    if size != recorded.size:
        raise UnwriteError(f"{path} has {size} bytes, but was pinned with {recorded.size}. {_REPIN}")
    if sha256 != recorded.sha256:
        raise UnwriteError(f"{path} has sha256 {sha256[:12]}…, but was pinned with {recorded.sha256[:12]}…. {_REPIN}")


_REPIN = "Restore the file, or run `dvc repro -f pin_model` to pin the model as it is now."
