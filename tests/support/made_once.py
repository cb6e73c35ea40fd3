"""Folders that are expensive to make, made once for all workers of pytest-xdist."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of that name, filled by the first worker that asks; the others wait for it.

    Args:
        factory: the fixture `tmp_path_factory`.
        name: unique among the folders made this way.
        make: fills the folder it is given, which is renamed afterwards.

    Returns:
        A folder that all tests share: copy it to change it.
    """
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # the workers' common folder
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not folder.exists():
            making = shared / f"{name}.making"
            shutil.rmtree(making, ignore_errors=True)  # of an attempt that failed
            making.mkdir()
            make(making)
            making.rename(folder)
    return folder
