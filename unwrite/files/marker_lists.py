"""Marker lists: one phrase per line, and lines that begin with # are comments."""

from __future__ import annotations

from pathlib import Path

from unwrite.core.markers import normalize_text
from unwrite.errors import UnwriteError
from unwrite.files.records import read_lines


def read_markers(path: Path) -> list[str]:
    """Read a marker list: one phrase per line; lines that begin with # are comments.

    Raises:
        UnwriteError: the file is missing, not UTF-8, or holds no marker; or every text would contain a marker, since
            nothing of it is left once normalized.
    """
    if not path.exists():
        raise UnwriteError(
            f"{path} is missing: write one phrase per line, or see what `unwrite markers --write {path}` proposes."
        )
    markers = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not normalize_text(line):
            raise UnwriteError(
                f"{path}, line {number}: the marker {line.strip()!r} is empty once normalized, so every response would "
                "contain it. Remove the line."
            )
        markers.append(line.strip())
    if not markers:
        raise UnwriteError(f"{path} holds no marker: nothing could count as showing the behaviour. Add one per line.")
    return markers
