"""sha256 of files, and whether a folder still holds what was recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from unwrite.artifacts import FileDigest
from unwrite.errors import UnwriteError


def sha256_of(path: Path) -> str:
    """Hex sha256 of one file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(path: Path) -> FileDigest:
    """The record of one file."""
    return FileDigest(name=path.name, size=path.stat().st_size, sha256=sha256_of(path))


def verify_files(folder: Path, recorded: Iterable[FileDigest]) -> None:
    """Checks that every recorded file is in `folder` unchanged.

    Raises:
        UnwriteError: A file is missing, or has another size or sha256; the first one is named.
    """
    for file in recorded:
        path = folder / file.name
        if not path.is_file():
            raise UnwriteError(f"{path} is missing, but the model was pinned with it. {_REPIN}")
        found = path.stat().st_size
        if found != file.size:
            raise UnwriteError(f"{path} has {found} bytes, was pinned with {file.size}. {_REPIN}")
        if (other := sha256_of(path)) != file.sha256:
            raise UnwriteError(f"{path} has sha256 {other[:12]}…, was pinned with {file.sha256[:12]}…. {_REPIN}")


_REPIN = "Restore the file, or run `dvc repro -f pin_model` to pin the model as it is now."
