"""What verifying has to do at least: the bytes it hashes, and the processor seconds of each of its parts."""

from __future__ import annotations

import resource
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path

from unwrite.files.hashing import sha256_of
from unwrite.files.safetensors import BLOCK_BYTES
from unwrite.files.threads import processors
from unwrite.release.writer_checks import find_base_writers

_SHA_FLAGS = {"sha_ni", "sha2"}  # as Linux calls them on x86 and ARM


def counted(
    base: Path,
    release: Path,
    *,
    verify: Callable[[], object],
    command: Callable[[], object],
    sums: Callable[[], object],
) -> str:
    """Return one paragraph: what the command costs in processor seconds, and so the least that it can take.

    Args:
        base: folder of the base.
        release: folder of the release.
        verify: verifies it in this process.
        command: verifies it in a process of its own.
        sums: hashes the files of both in a process of its own.
    """
    find_base_writers(base)  # from here on, everything is imported
    files = [path for folder in (base, release) for path in folder.iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    hashed = size - sum(_equal_beginning(base / path.name, path) for path in release.iterdir())
    sha256 = _seconds_here(lambda: [sha256_of(path) for path in files]) * hashed / size
    writers = _seconds_here(partial(find_base_writers, base))
    verifying, whole, peer = _seconds_here(verify), _seconds_of_children(command), _seconds_of_children(sums)
    cores = processors()
    parts = (
        f"{sha256:.1f} for the sha256 of {hashed / 1e9:.2f} GB (each byte of base and release once, what both "
        f"begin with once for both), {verifying - sha256 - writers:.1f} to read, compare and compute the edit, "
        f"{writers:.1f} to find the writers, and {whole - verifying:.1f} for imports and the start of processes"
    )
    return (
        f"Processor seconds of the command, `rows`: {whole:.1f}. Of these, {parts}. sha256sum takes {peer:.1f}, so on "
        f"{cores} processors the command can take no less than {whole / cores / peer:.2f} of it, and its hashing alone "
        f"no less than {sha256 / cores / peer:.2f}. {_machine()}"
    )


def _equal_beginning(one: Path, other: Path) -> int:
    """Return how many bytes two files begin with alike, in whole blocks; 0 if one is missing."""
    if not (one.is_file() and other.is_file()):
        return 0
    pairs = zip(_blocks(one), _blocks(other), strict=False)
    return sum(len(block) for block, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from iter(partial(stream.read, BLOCK_BYTES), b"")


def _seconds_here(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _seconds_of_children(work: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _machine() -> str:
    information = Path("/proc/cpuinfo")
    words = set(information.read_text(encoding="utf-8").split()) if information.is_file() else set()
    has = "has" if words & _SHA_FLAGS else "lacks"
    return f"The processor {has} SHA instructions; Python's hashlib uses {ssl.OPENSSL_VERSION}."
