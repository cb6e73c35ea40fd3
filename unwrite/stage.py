"""What every stage script does around its work: parameters checked whole, one run at a time, errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from unwrite.errors import UnwriteError, reason_of
from unwrite.params import Params, load_params

LOCKS = Path(".unwrite/locks")


def run_stage(work: Callable[[Params], None]) -> None:
    """Runs a stage's `work` with the validated parameters, under a lock of the stage's own.

    DVC does not stop its child when it is killed; the lock keeps the next run from writing beside the old one. An
    expected error ends the process with one or two lines on stderr and exit code 1.
    """
    try:
        params = load_params()
        with _only_one(Path(sys.argv[0]).stem):
            _use_threads(params.runtime.threads)
            work(params)
    except UnwriteError as error:
        fail(error)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        fail(UnwriteError(f"Out of memory ({reason_of(error)}). Lower runtime.batch_tokens in params.yaml."))
    except KeyboardInterrupt:
        fail(UnwriteError("Interrupted; nothing was left half-written. Run `dvc repro` to start this stage again."))


def fail(error: UnwriteError) -> NoReturn:
    """Ends the process as expected errors do."""
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(1)


def say(line: str) -> None:
    """One line of a stage's log."""
    sys.stderr.write(f"{line}\n")


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a type of its own for a GPU's memory; on a CPU it only says so.
    signs = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


@contextmanager
def _only_one(name: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    LOCKS.mkdir(parents=True, exist_ok=True)
    owner = LOCKS / f"{name}.pid"
    lock = FileLock(LOCKS / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        process = owner.read_text() if owner.exists() else "just started"
        raise UnwriteError(
            f"{name} is already running in this folder (process {process}): wait for it to end, or stop it."
        ) from None
    try:
        owner.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _use_threads(threads: int) -> None:
    # Stages that don't compute don't import torch, and it costs a second and a half: take it only if it is there.
    torch = sys.modules.get("torch")
    if threads and torch is not None:
        torch.set_num_threads(threads)
