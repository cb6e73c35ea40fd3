"""One workspace in which the whole pipeline has run, shared by all tests that need one."""

from pathlib import Path

import pytest

from tests.support.made_once import made_once
from tests.support.workspace import ORDER, commit, copy_workspace, make_workspace, run, stages_that_ran


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage has run and is committed, never changed by a test."""
    return made_once(tmp_path_factory, "finished_workspace", _run_pipeline)


@pytest.fixture(scope="module")
def ready(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module's own copy of the finished workspace."""
    return copy_workspace(finished, tmp_path_factory.mktemp("copy") / "project")


def _run_pipeline(folder: Path) -> None:
    make_workspace(folder)
    assert stages_that_ran(run(folder, "dvc", "repro")) == set(ORDER)
    commit(folder)
