"""A release that is made once, a copy of it and its base for each test to change, and writers that are found once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.found_once import writers_found_once
from tests.support.releases import Release, make_release


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release that every test shares; it must not be changed."""
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def release(made: Release, tmp_path: Path) -> Release:
    """A copy of the release, to change."""
    shutil.copytree(made.base, tmp_path / "base")
    shutil.copytree(made.folder, tmp_path / "release")
    return Release(tmp_path / "base", tmp_path / "release", made.recipe)


@pytest.fixture(scope="module", autouse=True)
def _writers_found_once() -> Iterator[None]:
    """Every verification finds the writers of its base, mostly the same one."""
    with writers_found_once():
        yield
