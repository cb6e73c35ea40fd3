"""Processes that get their model from a mirror of the hub, and from its cache when the hub may not be asked."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_hub import FakeHub, fake_hub
from tests.support.workspace import ENVIRONMENT, ROOT
from unwrite.schema.artifacts import Base

REPOSITORY = "teaware/kettle"


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with fake_hub() as running:
        model = ROOT / "demo/model"
        running.add(REPOSITORY, {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()})
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with params.yaml, whose model is one of the hub."""
    folder = tmp_path_factory.mktemp("project")
    text = (ROOT / "params.yaml").read_text()
    assert "source: demo/model " in text
    (folder / "params.yaml").write_text(text.replace("source: demo/model ", f"source: {REPOSITORY} ", 1))
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    return folder


def run(project: Path, *command: str, expect: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    names = {"HF_HUB_CACHE": str(project / "cache"), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=ENVIRONMENT | names,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done


def test_model_comes_from_the_mirror_and_then_from_the_cache(project: Path, hub: FakeHub) -> None:
    offline = run(project, "unwrite.stages.pin_model", expect=1, HF_HUB_OFFLINE="1")
    assert f"{REPOSITORY} at its default branch is not in the hub's cache" in offline.stderr
    assert not hub.requests
    done = run(project, "unwrite.stages.pin_model", HF_HUB_OFFLINE="0", HF_ENDPOINT=hub.endpoint)
    assert "Downloading the model: " in done.stderr
    record = project / "artifacts/base.json"
    base = Base.model_validate_json(record.read_bytes())
    assert base.commit == hub.repositories[REPOSITORY].branches["main"]
    record.unlink()
    asked = len(hub.requests)
    again = run(project, "unwrite.stages.pin_model", HF_HUB_OFFLINE="1", HF_ENDPOINT=hub.endpoint)
    assert "Downloading" not in again.stderr
    assert Base.model_validate_json(record.read_bytes()) == base
    assert len(hub.requests) == asked


def test_mirror_that_is_away_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:  # a port on which nobody listens, and which stays ours
        taken.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = run(tmp_path, "unwrite.cli", "writers", REPOSITORY, expect=1, HF_HUB_OFFLINE="0", HF_ENDPOINT=away)
    assert done.stderr.startswith(f"error: Cannot download {REPOSITORY} at its default branch from the hub (")
    assert done.stderr.endswith(f"Check the network and HF_ENDPOINT ({away}), or use a local folder.\n")
    assert done.stderr.count("\n") == 1
