"""Files that are larger than they can be are refused before any is hashed: a sparse one would take hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import model_files
from unwrite.release.untrusted import entries, is_plain_file, one_line

if TYPE_CHECKING:
    from unwrite.release.statement import Manifest

_SLACK = 100_000_000
"""Bytes up to which a file of a wrong size is still read, so that everything wrong with a release is listed."""


def refuse_oversized_files(release: Path, base: Path | None, manifest: Manifest) -> None:
    """Refuse a release with a file far larger than its manifest or its base can explain; likewise a base.

    Raises:
        UnwriteError: there is such a file; the message names it.
    """
    names = [path.relative_to(release).as_posix() for path in entries(release)]
    listed = {one.name: one.annotations.get("size") for one in manifest.subject}
    whole = None
    if base is not None:
        declared = {one.name: one.annotations.get("size") for one in manifest.dependencies("base")}
        _refuse(base, declared, declared, None)  # before its config.json is read
        whole = sum((base / name).stat().st_size for name in model_files(base))
    _refuse(release, names, listed, whole)


def _refuse(folder: Path, names: Iterable[str], listed: Mapping[str, object], most: int | None) -> None:
    total = sum(size for size in listed.values() if isinstance(size, int))
    for name in names:
        if not is_plain_file(folder, name):
            continue  # the checks name it
        size, expected = (folder / name).stat().st_size, listed.get(name)
        limit = expected if isinstance(expected, int) else total
        if size > limit + _SLACK:
            raise UnwriteError(_message(folder / name, size, f"the manifest lists {limit:,}"))
        if most is not None and size > most + _SLACK:
            raise UnwriteError(_message(folder / name, size, f"the whole base has {most:,}"))


def _message(file: Path, size: int, instead: str) -> str:
    return f"{one_line(str(file))} has {size:,} bytes, but {instead}: it was not read."
