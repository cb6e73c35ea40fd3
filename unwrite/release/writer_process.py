"""The writers of a large base found in a process of its own, while this one hashes and compares.

Python runs one thread at a time: beside threads that compare, importing transformers would hold up both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.files.threads import processors
from unwrite.models.preload import everything_kept, import_transformers

if TYPE_CHECKING:
    from unwrite.release.writer_checks import FoundWriters

_WORTH_A_PROCESS = 1_000_000_000
"""Bytes of a base from which on hashing takes longer than a second import of torch."""


@contextmanager
def writers_process(base: Path | None) -> Iterator[Callable[[Path | None], FoundWriters | str] | None]:
    """Start finding the writers of a base, if it is large and there is a processor for it.

    Args:
        base: the folder of the base, if there is one.

    Yields:
        what returns the writers, as `find_base_writers` does; None if no process was started. Whatever is still
        running at the end is ended.
    """
    if base is None or processors() == 1 or _size(base) < _WORTH_A_PROCESS:
        yield None
        return
    command = [sys.executable, "-P", "-m", "unwrite.release.writer_process", str(base)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield lambda folder: _result(process, folder)
        finally:
            process.kill()


def _size(base: Path) -> int:
    try:
        return sum(path.stat().st_size for path in base.iterdir() if path.is_file())
    except OSError:
        return 0  # whoever reads the folder says so


def _result(process: subprocess.Popen[bytes], base: Path | None) -> FoundWriters | str:
    """Wait for the writers; if the process failed, find them here, so that the reason is seen."""
    from unwrite.release.writer_checks import FoundWriters, find_base_writers
    from unwrite.schema.artifacts import Writer

    output, _ = process.communicate()
    if process.returncode != 0:
        return find_base_writers(base)
    found = json.loads(output)
    if isinstance(found, str):
        return found
    writers = [Writer.model_validate(writer) for writer in found.pop("writers")]
    return FoundWriters(writers=writers, **found)


def print_writers(base: Path) -> None:
    """Print the writers of a base as JSON, or the reason why they are not known."""
    from unwrite.release.writer_checks import find_base_writers
    from unwrite.schema.artifacts import as_json

    found = find_base_writers(base)
    values = found if isinstance(found, str) else found._asdict() | {"writers": list(map(as_json, found.writers))}
    sys.stdout.write(json.dumps(values))


if __name__ == "__main__":
    with everything_kept(), suppress(ImportError):  # of which `print_writers` says what is missing
        import_transformers()
    print_writers(Path(sys.argv[1]))
