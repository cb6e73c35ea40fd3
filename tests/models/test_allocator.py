"""Freed memory stays in the process after `keep_freed_memory`, and counts as free for `free_memory`.

Each case is a process of its own, since the setting cannot be taken back.
"""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

SIZE = 100_000_000
SCRIPT = f"""
import ctypes, psutil
from unwrite.models.allocator import keep_freed_memory
from unwrite.models.placement import free_memory

{{setting}}
memory = lambda: psutil.Process().memory_info().rss
bytes(31 << 20)  # from here on, glibc itself would keep small blocks
before = memory()
block = bytes(b"x" * {SIZE})
del block
{{at_the_end}}
print(memory() - before)
"""


def kept(setting: str, at_the_end: str = "") -> int:
    """Return how many bytes a process still holds of a block that it has freed."""
    script = SCRIPT.format(setting=setting, at_the_end=at_the_end)
    return int(subprocess.check_output([sys.executable, "-c", script], text=True))


def test_freed_memory_is_kept() -> None:
    assert kept("keep_freed_memory()") > 0.9 * SIZE


def test_control_glibc_itself_returns_it() -> None:
    assert kept("") < 0.1 * SIZE


def test_whoever_asks_how_much_is_free_has_it_returned() -> None:
    assert kept("keep_freed_memory()", "free_memory()") < 0.1 * SIZE
