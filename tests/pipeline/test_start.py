"""A stage says what it does before its imports, and Ctrl-C is one line and exit code 130 at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.small_project import ROOT
from unwrite.pipeline.start import INTERRUPTED, MESSAGE

# A shell that starts the tests in the background makes them ignore Ctrl-C.
INTERRUPT = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
os.kill(os.getpid(), signal.SIGINT)
"""


def run(module: str, folder: Path, fakes: Path) -> subprocess.CompletedProcess[str]:
    """Run a stage of this project in a folder, with modules of `fakes` in the place of installed ones."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(fakes), str(ROOT)])}
    command = [sys.executable, "-m", module]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("stage", ["extract_residuals", "optimize_weights"])
def test_ctrl_c_during_imports_is_one_line(stage: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(INTERRUPT)
    done = run(f"unwrite.stages.{stage}", tmp_path, tmp_path)
    assert (done.returncode, done.stdout) == (INTERRUPTED, "")
    assert done.stderr == f"{stage}: starting\n{MESSAGE}\n"


def test_a_stage_says_first_what_it_does(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (tmp_path / "torch.py").write_text("raise ZeroDivisionError")
    done = run("unwrite.stages.extract_residuals", tmp_path, tmp_path)
    first, *rest = done.stderr.splitlines()
    description = YAML(typ="safe").load(tmp_path / "dvc.yaml")["stages"]["extract_residuals"]["desc"]
    assert first == f"extract_residuals: {description}"
    assert done.returncode == 1
    assert rest[-1] == "ZeroDivisionError"  # a bug keeps its traceback
    assert rest[0].startswith("Traceback")


def test_importing_a_stage_says_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys, unwrite.stages; print(sys.excepthook is sys.__excepthook__)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")
