"""Compare `unwrite verify`, on a merged checkpoint and its base, with `sha256sum` over the files of both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.comparison import alternated, peak_memory, ratio, spread, table
from benchmarks.counting import counted
from benchmarks.merging import MODES, checkpoint_project, clear, ours
from unwrite.files.checkpoints import stored_tensors
from unwrite.files.safetensors import spans
from unwrite.files.threads import processors
from unwrite.release.verify import verify_release
from unwrite.schema.paths import MODEL
from unwrite.terms import NormPreservation

BASE = Path("base")


def report(repeats: int, gigabytes: float) -> str:
    """Return a table of time and memory."""
    torch_alone = peak_memory(_nothing)
    rows = []
    with checkpoint_project(gigabytes) as size:
        for mode in MODES:
            rows += _rows(mode, repeats, torch_alone)
        ours("rows")
        count = counted(BASE, MODEL, verify=_verify, command=_command, sums=_sums)
        clear()
        tensors = stored_tensors(BASE)
        files = {tensor.file for tensor in tensors.values()}
        largest = max(span.stop - span.start for file in files for span in spans(file, tensors))
    about = (
        f"Checkpoint of {size / 1e9:.2f} GB and its release, every residual writer edited; both are read from memory. "
        "Ours: `verify_release`, finding the writers included; the command adds the start of Python and the imports. "
        f"Torch and the imports take {torch_alone:.0f} MB, the largest tensor {largest / 1e6:.0f} MB."
    )
    return f"{about}\n\n{table(['', 's', 'this ÷ sha256sum', 'peak MB', 'above torch MB'], rows)}\n\n{count}"


def _rows(mode: NormPreservation, repeats: int, torch_alone: float) -> list[list[str]]:
    ours(mode)
    name = f"ours, {mode}"
    command = f"the command, {mode}"
    ways: dict[str, Callable[[], object]] = {"sha256sum": _sums, name: _verify, command: _command}
    _sums()  # from here on, the files are in the page cache
    seconds = alternated(ways, repeats)
    peak = peak_memory(ways[name])
    clear()
    rows = [[way, spread(taken), ratio(taken, seconds["sha256sum"]), "", ""] for way, taken in seconds.items()]
    rows[1][3:] = [f"{peak:.0f}", f"{peak - torch_alone:.0f}"]
    return rows


def _nothing() -> None:
    """Do nothing, to measure what the imports alone cost."""


def _verify() -> None:
    found = verify_release(MODEL, BASE, threads=processors())
    if not (found.passed and found.complete):
        raise RuntimeError("the release is not its base and the edit")


def _command() -> None:
    command = [sys.executable, "-m", "unwrite.cli", "verify", str(MODEL), "--base", str(BASE)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _sums() -> None:
    files = [path for folder in (BASE, MODEL) for path in sorted(folder.iterdir())]
    subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
