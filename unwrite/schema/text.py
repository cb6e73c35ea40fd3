"""Read UTF-8 text; a file that cannot be read, or is not UTF-8, is an expected error."""

from __future__ import annotations

from pathlib import Path

from unwrite.errors import UnwriteError


def read_text(path: Path, remedy: str = "") -> str:
    """Read a UTF-8 text file; a byte order mark is dropped.

    Args:
        path: the file.
        remedy: advice for a file that cannot be read, without a full stop.

    Raises:
        UnwriteError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror})"
        raise UnwriteError(f"{reason}: {remedy}." if remedy else f"{reason}.") from None
    except UnicodeDecodeError as error:
        raise UnwriteError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from None
