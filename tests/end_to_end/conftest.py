"""A workspace in which the whole pipeline has run, shared by all tests that need one; and a Python for quick stages."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.found_once import writers_found_once
from tests.support.made_once import made_once
from tests.support.warm_python import warm_python
from tests.support.workspace import ENVIRONMENT, ORDER, commit, copy_workspace, make_workspace, run, stages_that_ran


@pytest.fixture(scope="module", autouse=True)
def _writers_found_once() -> Iterator[None]:
    """Whatever is published is verified, always on the same base; the stages find its writers themselves."""
    with writers_found_once():
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage has run, each in a new Python, and is committed; never changed by a test."""
    return made_once(tmp_path_factory, "finished_workspace", _run_pipeline)


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Path:
    """The test's own copy of the finished workspace."""
    return copy_workspace(finished, tmp_path / "project")


@pytest.fixture(scope="session")
def warm() -> Iterator[Mapping[str, str]]:
    """The environment of a workspace in which stages start in no time."""
    with warm_python() as folder:
        yield {**ENVIRONMENT, "PATH": f"{folder}{os.pathsep}{ENVIRONMENT['PATH']}"}


def _run_pipeline(folder: Path) -> None:
    make_workspace(folder)
    assert stages_that_ran(run(folder, "dvc", "repro")) == set(ORDER)
    commit(folder)
