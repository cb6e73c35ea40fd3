"""The C library's allocator, set so that the memory of one forward pass serves the next."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)
_NEVER, _NONE = -1, 0


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its own further use.

    By default glibc gives large blocks back to the system, and whoever needs them next waits while the system clears
    them page by page: it was a seventh of a trial of the demo. In threads other than the main one, blocks above 64 MB
    still go back. For processes that end when their work does; no effect with other C libraries.
    """
    if library := _glibc():
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
        library.mallopt(_MMAP_MAX, _NONE)


def return_freed_memory() -> None:
    """Give the system what this process has freed and kept, so that it counts as free."""
    if library := _glibc():
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
