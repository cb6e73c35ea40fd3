"""Read UTF-8 text; a file that cannot be read, or is not UTF-8, is an expected error."""

from __future__ import annotations

import stat
from pathlib import Path

from unwrite.errors import UnwriteError


def read_text(path: Path, remedy: str = "") -> str:
    """Read a UTF-8 text file; a byte order mark is dropped.

    Args:
        path: the file.
        remedy: advice for a file that cannot be read, without a full stop.

    Raises:
        UnwriteError: the file cannot be read, is a pipe, socket or device, or is not UTF-8.
    """
    try:
        refuse_endless(path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror})"
        raise UnwriteError(f"{reason}: {remedy}." if remedy else f"{reason}.") from None
    except UnicodeDecodeError as error:
        raise UnwriteError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from None
    if "\0" in text:  # UTF-16 without a mark is valid UTF-8, as far as it is ASCII
        line = text[: text.index("\0")].count("\n") + 1
        raise UnwriteError(f"{path} holds a NUL in line {line}, as UTF-16 does: save it as UTF-8.")
    return text


def refuse_endless(path: Path) -> None:
    """Refuse a path that leads to a pipe, socket or device: reading one may never end.

    A missing file is accepted: whoever opens it says so.

    Raises:
        UnwriteError: the path is none of file, folder and missing; the message says what it is.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise UnwriteError(f"{path} is {kind}, not a file. Write its content to a file, and name that.")
