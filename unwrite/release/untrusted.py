"""Files and text from strangers: accept plain files only, and print text without control codes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unwrite.errors import UnwriteError, reason_of
from unwrite.schema.paths import TEMPLATES

_LONGEST_NAME = 255  # bytes, on every common file system
_LARGEST_RECORD = 100_000_000
"""Bytes of a file that is read into memory whole; the index of the largest checkpoints has a few million."""
_DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
_OF_THE_SYSTEM = ("/proc", "/sys", "/dev")


def is_plain_name(name: str) -> bool:
    """Return whether a name is that of a file in a folder, and leads nowhere else."""
    if name in {"", ".", ".."} or not name.isprintable():
        return False
    return not set(name) & {"/", "\\", "\0"} and len(os.fsencode(name)) <= _LONGEST_NAME


def is_release_name(name: str) -> bool:
    """Return whether a name is one that a release's file can have: a plain one, or that of a chat template's file."""
    inner = name.removeprefix(f"{TEMPLATES}/")
    return is_plain_name(inner) and (inner == name or inner.endswith(".jinja"))


def entries(folder: Path) -> list[Path]:
    """Return what lies in the folder of a release, in order: with what its folder of chat templates holds, if any."""
    found = sorted(folder.iterdir())
    templates = folder / TEMPLATES
    if templates in found and templates.is_dir() and not templates.is_symlink():
        inner = sorted(templates.iterdir())
        if inner:  # an empty one is left by nobody
            found.remove(templates)
        found += inner
    return found


def is_plain_file(folder: Path, name: str) -> bool:
    """Return whether a release holds a file under a name it can have: no pipe or device, whose reading never ends."""
    try:
        is_elsewhere = "/" in name and (folder / name).parent.is_symlink()
        return is_release_name(name) and not is_elsewhere and (folder / name).is_file()
    except OSError:
        return False


def leads_out(folder: Path, link: Path) -> bool:
    """Return whether a link leads out of a folder, other than to where the hub's or DVC's cache keeps its files."""
    try:
        target, inside = link.resolve(strict=True), folder.resolve()
    except (OSError, RuntimeError):  # a loop, or nothing there
        return True
    cached = inside.parent.name == "snapshots" and target.parent == inside.parent.parent / "blobs"
    return target.parent != inside and not cached and _DVC_CACHE.search(target.as_posix()) is None


def printable(text: str) -> str:
    """Return text with control and unprintable characters escaped; line breaks stay."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def one_line(text: str) -> str:
    """Return text with line breaks escaped too, for a line of a list: a name with one could forge the next line."""
    return printable(text).replace("\n", "\\n")


def refuse_endless_files(folder: Path, records: Collection[str]) -> None:
    """Refuse a folder with files that no release has, and whose reading might never end.

    Args:
        folder: a release.
        records: names of files that are read into memory whole.

    Raises:
        UnwriteError: the folder cannot be read; a link leads to a device or into the system's own files; a record is
            larger than any can be.
    """
    if not folder.is_dir():
        return  # whoever reads the manifest says so
    with unreadable_files_told():
        found = entries(folder)
    for path in found:
        try:
            mode, size = path.stat().st_mode, path.stat().st_size
        except (OSError, RuntimeError):
            continue  # the checks name it
        target = path.resolve()
        special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        if path.is_symlink() and (special or any(map(target.is_relative_to, _OF_THE_SYSTEM))):
            raise UnwriteError(f"{one_line(str(path))} is a link to {one_line(str(target))}: remove it.")
        if path.name in records and stat.S_ISREG(mode) and size > _LARGEST_RECORD:
            raise UnwriteError(
                f"{one_line(str(path))} has {size:,} bytes, and no such record has more than {_LARGEST_RECORD:,}."
            )


def malformed_told(problems: Iterable[str], values: str) -> Iterator[str]:
    """Yield what a check of free-form values finds; that they have a form which it cannot read is a problem too.

    Args:
        problems: the check, a generator.
        values: what it reads, in words.
    """
    try:
        yield from problems
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        yield f"{values} have another form than unwrite writes ({type(error).__name__}: {reason_of(error)})"


@contextmanager
def unreadable_files_told() -> Iterator[None]:
    """Raise what the system says about a file that cannot be read as an `UnwriteError`, in one line.

    Raises:
        UnwriteError: the enclosed code could not read a file.
    """
    try:
        yield
    except OSError as error:
        name = one_line(str(error.filename)) if error.filename else "a file of the release or its base"
        raise UnwriteError(f"{name} cannot be read ({error.strerror or error}).") from error
