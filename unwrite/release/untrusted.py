"""Files and text from strangers: accept plain files only, and print text without control codes."""

from __future__ import annotations

import os
from pathlib import Path

_LONGEST_NAME = 255  # bytes, on every common file system


def is_plain_name(name: str) -> bool:
    """Return whether a name is that of a file in a folder, and leads nowhere else."""
    if name in {"", ".", ".."} or not name.isprintable():
        return False
    return not set(name) & {"/", "\\", "\0"} and len(os.fsencode(name)) <= _LONGEST_NAME


def is_plain_file(folder: Path, name: str) -> bool:
    """Return whether a folder holds a file under a plain name: not a pipe or device, whose reading never ends."""
    try:
        return is_plain_name(name) and (folder / name).is_file()
    except OSError:
        return False


def leads_out(folder: Path, link: Path) -> bool:
    """Return whether a link leads out of a folder, other than to where the hub's cache keeps the repository's files."""
    try:
        target, inside = link.resolve(strict=True), folder.resolve()
    except (OSError, RuntimeError):  # a loop, or nothing there
        return True
    cached = inside.parent.name == "snapshots" and target.parent == inside.parent.parent / "blobs"
    return target.parent != inside and not cached


def printable(text: str) -> str:
    """Return text with control and unprintable characters escaped; line breaks stay."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
