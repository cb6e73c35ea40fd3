"""A project in which every stage has run once on the demo model, with few prompts; each test gets its own copy."""

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from tests.support.made_once import made_once
from tests.support.small_project import ROOT, STAGES, run_stage, small_params
from unwrite.schema.params import Params


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every stage has run, never changed by a test."""
    return made_once(tmp_path_factory, "finished_stages", _run_stages)


@pytest.fixture
def params() -> Params:
    """Parameters with few prompts and trials."""
    return small_params()


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the finished project, and the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    with chdir(folder):
        yield folder


def _run_stages(folder: Path) -> None:
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    shutil.copytree(ROOT / "demo/model", folder / "demo/model")
    shutil.copy(ROOT / "dvc.yaml", folder)
    with chdir(folder):
        for name in STAGES:
            run_stage(name, small_params())
