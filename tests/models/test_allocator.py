"""Freed memory stays in the process after `keep_freed_memory`, and counts as free for `free_memory`.

Each case is a process of its own, since the setting cannot be taken back.
"""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

SIZE = 100_000_000


def kept(setting: str, at_the_end: str = "") -> int:
    """Return how many bytes a process still holds of a block that it has freed."""
    script = f"""
import psutil
from unwrite.models.allocator import keep_freed_memory
from unwrite.models.placement import free_memory
from unwrite.workers.host import Host

{setting}
memory = lambda: psutil.Process().memory_info().rss
before = memory()
block = bytearray(b"x") * {SIZE}
del block
{at_the_end}
print(memory() - before)
"""
    return int(subprocess.check_output([sys.executable, "-c", script], text=True))


def test_freed_memory_is_kept() -> None:
    assert kept("keep_freed_memory()") > 0.9 * SIZE


def test_a_worker_keeps_it() -> None:
    assert kept("Host('/none', '/none', {}).prepare(list, 1)") > 0.9 * SIZE


def test_a_worker_returns_it_before_it_makes_something_else() -> None:
    assert kept("worker = Host('/none', '/none', {}); worker.prepare(list, 1)", "worker.prepare(list, 1)") < 0.1 * SIZE


@pytest.mark.parametrize("setting", ["", "bytes(31 << 20)"])
def test_control_glibc_itself_returns_it(setting: str) -> None:
    """Also once its threshold is as high as it gets by itself (`files/threads.py`)."""
    assert kept(setting) < 0.1 * SIZE


def test_whoever_asks_how_much_is_free_has_it_returned() -> None:
    assert kept("keep_freed_memory()", "free_memory()") < 0.1 * SIZE
