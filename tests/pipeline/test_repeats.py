"""A pipeline killed half-way and run again makes the same bytes as one that was not."""

import csv
import hashlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.workspace import ENVIRONMENT, make_workspace, run

pytestmark = pytest.mark.xdist_group("pipeline")


def results(folder: Path) -> dict[str, str]:
    """What must be the same bytes each time; of trials.csv all but its seconds."""
    artifacts = folder / "artifacts"
    paths = [artifacts / name for name in ("base.json", "directions.safetensors", "front.json", "edit.json")]
    paths += sorted((artifacts / "model").glob("*.safetensors"))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    with (artifacts / "trials.csv").open() as file:
        trials = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return digests | {"trials": repr(trials)}


def run_until(folder: Path, line: str) -> None:
    """Starts `dvc repro` and kills it and its children, at once and without warning, when it has printed `line`."""
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process, process.stdout as output:
        assert any(line in printed for printed in output), f"{line!r} was never printed"
        os.killpg(process.pid, signal.SIGKILL)


def test_killed_and_repeated_runs_make_the_same_bytes(ready: Path, tmp_path: Path) -> None:
    folder = make_workspace(tmp_path / "project")
    run_until(folder, "Base model: behaviour rate")  # in the middle of the search
    assert not (folder / "artifacts/front.json").exists()
    run_until(folder, "Running stage 'merge_model'")
    assert not (folder / "artifacts/model").exists()
    run(folder, "dvc", "repro")
    assert results(folder) == results(ready)
