"""One workspace in which the whole pipeline has run, shared by the tests here."""

from pathlib import Path

import pytest

from tests.pipeline.workspace import ORDER, commit, make_workspace, run, stages_that_ran


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which everything has run and is committed."""
    folder = make_workspace(tmp_path_factory.mktemp("project"))
    assert stages_that_ran(run(folder, "dvc", "repro")) == set(ORDER)
    commit(folder)
    return folder
