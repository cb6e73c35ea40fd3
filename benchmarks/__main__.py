"""Compare unwrite with the plain way to do the same: search, extraction, merging, verifying, and search on a GPU.

    python -m benchmarks [search|extraction|merging|verifying|gpu …] [--repeats 5] [--trials 10] [--gigabytes 2]

Run it where `dvc repro` has run: on the demo (`make bench`), or on a real model in its example (`make bench-real`). The
ways alternate in one process; figures are medians, with the range over the rounds in brackets; memory is the high-water
mark of a fresh process for each way. Without a name, all benchmarks run and their output is also written to
benchmarks/results.md, or to the file that --output names.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
import torch

from benchmarks import extraction, gpu, merging, search, verifying
from benchmarks.comparison import set_up
from unwrite.files.records import write_text
from unwrite.schema.artifacts import read_base

RESULTS = Path(__file__).with_name("results.md")
_TITLES = {
    "search": "Search",
    "extraction": "Extraction",
    "merging": "Merging",
    "verifying": "Verifying",
    "gpu": "Search on a GPU, random weights in the shape of Qwen3-4B",
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(_TITLES)))
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(min=2), help="Rounds.")
@click.option("--trials", default=search.TRIALS, show_default=True, type=click.IntRange(min=1), help="Trials a round.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the tables into this file.")
@click.option("--gigabytes", default=2.0, show_default=True, help="Size of the checkpoint that is merged and verified.")
def main(names: tuple[str, ...], repeats: int, trials: int, output: Path | None, gigabytes: float) -> None:
    """Run the named benchmarks, or all, and print their tables."""
    set_up()
    reports: dict[str, Callable[[], str]] = {
        "search": partial(search.report, repeats, trials),
        "extraction": partial(extraction.report, repeats),
        "merging": partial(merging.report, repeats, gigabytes),
        "verifying": partial(verifying.report, repeats, gigabytes),
        "gpu": partial(gpu.report, repeats) if torch.cuda.is_available() else lambda: "Skipped: no GPU here.",
    }
    page = [f"# Ours against the plain way\n\n{_about(repeats)}"]
    for name in names or reports:
        page.append(f"## {_TITLES[name]}\n\n{reports[name]()}")
        click.echo(f"{page[-1]}\n")
    if not names or output is not None:
        write_text(output or RESULTS, "\n\n".join(page) + "\n")


def _about(repeats: int) -> str:
    """Describe the machine, the versions and the method in one paragraph."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    base = read_base()
    return (
        f"{base.architecture} ({base.source}) on {os.cpu_count()} cores ({_processor()}), {device}; {versions}. One "
        f"thread unless stated otherwise. Medians of {repeats} rounds that alternate in one process (growth: fewer), "
        "with the range in brackets; memory is the peak resident memory of a fresh process. All ways, the plain one "
        "too, run in processes that keep the memory they free (`models/allocator.py`), as every stage does."
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if not information.is_file():
        return platform.machine()
    lines = (line.partition(":") for line in information.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "model name"), platform.machine())


if __name__ == "__main__":
    main()
