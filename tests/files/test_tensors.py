"""Named tensors: the same bytes every time, exact round trips, and damage that names the stage."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unwrite.errors import UnwriteError
from unwrite.files.tensors import read_metadata, read_tensors, write_tensors

METADATA = {"center": "mean", "winsorize": {"quantile": 0.995}, "positions": [-1, -2], "nothing": None, "text": "ü"}
DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(3, 5, generator=generator) for name in ("c", "a", "b")}


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_are_read_back_with_every_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.tensor([0.1, -0.0, float("nan"), float("inf"), 1e-40, 3.0]).to(dtype)
    write_tensors(tmp_path / "x", {"values": values}, {})
    read = read_tensors(tmp_path / "x", "stage")["values"]
    assert read.dtype == dtype
    assert torch.equal(read.view(torch.uint8), values.view(torch.uint8))


def test_a_path_that_is_not_utf8_is_read_all_the_same(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    write_tensors(folder / "x", some_tensors(), METADATA)
    read = read_tensors(folder / "x", "stage")
    assert all(torch.equal(read[name], tensor) for name, tensor in some_tensors().items())
    assert read_metadata(folder / "x", "stage") == METADATA
    (folder / "x").write_bytes(b"short")
    with pytest.raises(UnwriteError, match=r"is damaged .*dvc repro -f stage"):
        read_tensors(folder / "x", "stage")


def test_the_order_of_names_and_keys_does_not_change_the_bytes(tmp_path: Path) -> None:
    tensors = some_tensors()
    write_tensors(tmp_path / "x", tensors, METADATA)
    write_tensors(tmp_path / "y", dict(reversed(tensors.items())), dict(reversed(METADATA.items())))
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_views_are_written_as_their_values(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "x", {"columns": whole[:, 1:3], "transposed": whole.T}, {})
    read = read_tensors(tmp_path / "x", "stage")
    assert torch.equal(read["columns"], whole[:, 1:3])
    assert torch.equal(read["transposed"], whole.T)


def test_bytes_are_the_same_in_another_process(tmp_path: Path) -> None:
    script = """
import json, sys, torch
from pathlib import Path
from unwrite.files.tensors import write_tensors
write_tensors(Path("theirs"), {name: torch.arange(6.0) for name in "cab"}, json.loads(sys.argv[1]))
"""
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    command = [sys.executable, "-c", script, json.dumps(METADATA)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    write_tensors(tmp_path / "ours", {name: torch.arange(6.0) for name in "abc"}, METADATA)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_control_several_metadata_keys_would_change_the_bytes(tmp_path: Path) -> None:
    # The reason that `write_tensors` stores one key: the library keeps them in an unordered map.
    metadata = {f"key{i}": "" for i in range(20)}
    files = set()
    for _ in range(10):
        save_file(some_tensors(), tmp_path / "x", metadata=metadata)
        files.add((tmp_path / "x").read_bytes())
    assert len(files) > 1


def test_any_safetensors_reader_can_read_the_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", some_tensors(), METADATA)
    read = load_file(tmp_path / "x")
    assert all(torch.equal(read[name], tensor) for name, tensor in some_tensors().items())


def test_other_users_can_read_the_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_tensors(tmp_path / "x", some_tensors(), {})
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_metadata_is_read_back_unchanged(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", some_tensors(), METADATA)
    assert read_metadata(tmp_path / "x", "some_stage") == METADATA


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Limit files to 1000 bytes; Python ignores the signal, so writing more raises an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_file_that_does_not_fit_is_an_expected_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"Cannot write .*x: File too large"):
        write_tensors(tmp_path / "x", {"a": torch.zeros(1000)}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"x is missing: run `dvc repro extract_residuals` first"):
        read_tensors(tmp_path / "x", "extract_residuals")


@pytest.mark.parametrize("keep", [0, 4, 8, 50, -1])
def test_a_truncated_file_names_the_stage(tmp_path: Path, keep: int) -> None:
    write_tensors(tmp_path / "x", some_tensors(), METADATA)
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:keep])
    with pytest.raises(UnwriteError, match=r"x is damaged \(.*\): run `dvc repro -f compute_directions`"):
        read_tensors(tmp_path / "x", "compute_directions")


def test_a_file_in_place_of_the_folder_names_the_stage(tmp_path: Path) -> None:
    (tmp_path / "residuals").touch()
    for read in (read_tensors, read_metadata):
        with pytest.raises(UnwriteError, match=r"is damaged .* run `dvc repro -f extract_residuals`"):
            read(tmp_path / "residuals/target", "extract_residuals")


def test_a_folder_in_place_of_the_file_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"is damaged .* run `dvc repro -f compute_directions`"):
        read_tensors(tmp_path, "compute_directions")


def test_a_pointer_and_a_file_that_cannot_be_read_are_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UnwriteError, match=r"x is a Git LFS pointer"):
        read_tensors(tmp_path / "x", "compute_directions")

    def denied(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(PermissionError):
        read_tensors(tmp_path / "x", "compute_directions")
