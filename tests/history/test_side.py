"""A side has what could be read of it, and notes on what could not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.sides import DIRECTIONS, vectors, write_directions, write_state
from unwrite.errors import UnwriteError
from unwrite.files.tensors import write_tensors
from unwrite.history.revisions import load_side


def test_file_has_the_settings_stored_in_it(tmp_path: Path) -> None:
    write_state(tmp_path, 3.0, 0.9)
    side = load_side(str(tmp_path / DIRECTIONS))
    assert (side.parameters, side.whole) == ({"directions.winsorize.quantile": 0.9}, False)
    assert side.recipe is None
    assert side.notes == [f"{tmp_path / DIRECTIONS} has no edit.json, so recipes cannot be compared"]


def test_folder_has_recipe_and_parameters_too(tmp_path: Path) -> None:
    write_state(tmp_path, 3.0, 0.9)
    folder = tmp_path / "artifacts"
    side = load_side(str(folder))
    assert side.recipe is not None
    assert (side.parameters, side.whole, side.notes) == ({"directions.winsorize.quantile": 0.9}, False, [])
    shutil.copy(tmp_path / "params.yaml", folder)
    assert load_side(str(folder)).whole


def test_file_from_elsewhere_has_no_settings(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(vectors(1.0), tmp_path / "directions.safetensors")
    side = load_side(str(tmp_path))
    assert side.parameters is None
    assert f"the parameters of {tmp_path} are unknown" in side.notes


@pytest.mark.parametrize("content", ["", "{}", '{"format": 0}', "not json"])
def test_unreadable_recipe_is_noted(tmp_path: Path, content: str) -> None:
    write_state(tmp_path, 3.0, 0.9)
    (tmp_path / "artifacts/edit.json").write_text(content)
    side = load_side(str(tmp_path / "artifacts"))
    assert side.recipe is None
    assert "edit.json of" in side.notes[0]
    assert side.notes[0].endswith("; recipes cannot be compared")


@pytest.mark.parametrize("content", [b"", b"- 1", b"a: [", b"\xff\xfe\x00", b"a: 1\na: 2", b"a: 2024-13-45"])
def test_parameters_that_are_not_a_mapping_are_noted(tmp_path: Path, content: bytes) -> None:
    write_state(tmp_path, 3.0, 0.9)
    (tmp_path / "artifacts/params.yaml").write_bytes(content)
    side = load_side(str(tmp_path / "artifacts"))
    assert side.notes == [f"params.yaml of {tmp_path / 'artifacts'} is not a YAML mapping"]
    assert (side.parameters, side.whole) == ({"directions.winsorize.quantile": 0.9}, False)


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "directions.safetensors"
    write_directions(path, 1.0)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:20], b"\xff" * 100, b"text"):
        path.write_bytes(damaged)
        with pytest.raises(UnwriteError, match="is damaged or not a safetensors file: expected the output of"):
            load_side(str(path))


def test_what_git_leaves_without_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "directions.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UnwriteError, match=r"directions.safetensors is a Git LFS pointer, .*: run `git lfs pull`"):
        load_side(str(path))


@pytest.mark.parametrize(
    ("tensors", "held"),
    [
        ({"residuals": torch.zeros(2, 2)}, r"residuals \[2, 2\]"),
        ({name: torch.zeros(3, 4) for name in vectors(0)}, r"directions \[3, 4\]"),
        (vectors(0) | {"directions": torch.zeros(1, 2, 4)}, r"directions \[1, 2, 4\]"),
        ({f"{i}": torch.zeros(1) for i in range(9)}, "…"),
        ({}, "nothing"),
    ],
    ids=["residuals", "no positions", "two shapes", "a model", "empty"],
)
def test_file_that_holds_something_else_is_refused(tmp_path: Path, tensors: dict[str, Tensor], held: str) -> None:
    write_tensors(tmp_path / "other.safetensors", tensors, {})
    with pytest.raises(UnwriteError, match=rf"must hold baseline_mean, directions.*, got .*{held}"):
        load_side(str(tmp_path / "other.safetensors"))


def test_directions_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = vectors(1.0)
    tensors["directions"][0, 1, 2] = float("nan")
    write_tensors(tmp_path / "directions.safetensors", tensors, {})
    with pytest.raises(UnwriteError, match="holds NaN or infinity"):
        load_side(str(tmp_path))
