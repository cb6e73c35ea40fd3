"""What git leaves without Git LFS is named as such, and nothing else is."""

from pathlib import Path

import pytest

from tests.support.checkpoint_files import TENSORS, write_single
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import SINGLE_FILE
from unwrite.files.lfs_pointers import refuse_pointer
from unwrite.files.safetensors import read_header

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


def test_a_pointer_is_named_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / SINGLE_FILE
    file.write_bytes(POINTER)
    with pytest.raises(UnwriteError, match=r"model.safetensors is a Git LFS pointer, .*: run `git lfs pull` in its"):
        read_header(file)
    with pytest.raises(UnwriteError, match=r"^the weights is a Git LFS pointer"):
        refuse_pointer(file, "the weights")


def test_any_other_file_is_none(tmp_path: Path) -> None:
    write_single(tmp_path, TENSORS)
    refuse_pointer(tmp_path / SINGLE_FILE)
    (tmp_path / "empty").write_bytes(b"")
    refuse_pointer(tmp_path / "empty")
