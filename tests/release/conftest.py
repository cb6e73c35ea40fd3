"""A release that is made once, and a copy of it and its base for each test to tamper with."""

import shutil
from pathlib import Path

import pytest

from tests.support.releases import Release, make_release


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Not to be changed."""
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def release(made: Release, tmp_path: Path) -> Release:
    """To be changed."""
    shutil.copytree(made.base, tmp_path / "base")
    shutil.copytree(made.folder, tmp_path / "release")
    return Release(tmp_path / "base", tmp_path / "release", made.recipe)
