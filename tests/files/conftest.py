"""A checkpoint in one file, and the same in two shards."""

from pathlib import Path

import pytest

from tests.support.checkpoint_files import PLACES, TENSORS, write_sharded, write_single


@pytest.fixture
def single(tmp_path: Path) -> Path:
    write_single(tmp_path, TENSORS)
    return tmp_path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write_sharded(tmp_path, TENSORS, PLACES)
    return tmp_path
