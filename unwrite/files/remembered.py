"""The sha256 of files, remembered: a file is read again only if its size, its times or its inode changed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.schema.artifacts import FileDigest

_SETTLED = 2_000_000_000
"""Nanoseconds after which a later change of a file surely has another time: some file systems count whole seconds."""

_State = dict[str, list[Any]]


def remembered_digests(paths: Iterable[Path], state: Path) -> list[FileDigest]:
    """Return the name, size and sha256 of files.

    A file that changed within the last two seconds is not remembered, since a change that follows at once could leave
    the same times.

    Args:
        paths: the files.
        state: the file that remembers; it holds times and inodes, so it belongs to this machine. If it is missing or
            damaged, every file is read. If it cannot be written, they are read next time too.
    """
    known, kept, digests = _read(state), _State(), []
    for path in paths:
        place, signature = str(path.absolute()), _signature(path)
        entry = known.get(place)
        unchanged = entry is not None and entry[:-1] == signature
        digest = FileDigest.model_validate(entry[-1]) if entry is not None and unchanged else digest_of(path)
        digests.append(digest)
        if unchanged or (signature == _signature(path) and time.time_ns() - path.stat().st_ctime_ns > _SETTLED):
            kept[place] = [*signature, digest.model_dump()]
    if kept != known:
        _write(state, kept)
    return digests


def _signature(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _read(state: Path) -> _State:
    try:
        entries = json.loads(state.read_bytes())
        for entry in entries.values():
            FileDigest.model_validate(entry[-1])
    except (OSError, ValueError, AttributeError, TypeError, IndexError, KeyError, RecursionError):
        return {}
    return _State(entries)


def _write(state: Path, entries: _State) -> None:
    try:
        write_json(state, entries)
    except UnwriteError:
        return  # a read-only project: what is remembered saves time, and nothing depends on it
