"""Sizes of the edit, read back with the writer that each tensor belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.report.edit_sizes import TensorSize, read_edit_sizes
from unwrite.schema.artifacts import Recipe

HEADER = "tensor,norm,change,relative\n"


def test_each_tensor_has_its_writer(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "edit_size.csv"
    file.write_text(f"{HEADER}1.attention.weight,2.0,0.5,0.25\n3.mlp.bias,1.0,0.1,0.1\n")
    assert read_edit_sizes(file, recipe.edits) == [
        TensorSize("1.attention.weight", 1, "attention", False, 2.0, 0.5, 0.25),
        TensorSize("3.mlp.bias", 3, "mlp", True, 1.0, 0.1, 0.1),
    ]


@pytest.mark.parametrize("row", ["0.mlp.weight,1,1,1", "1.mlp.weight,much,1,1"])  # layer 0 is not edited
def test_sizes_of_another_recipe_or_version_are_refused(recipe: Recipe, tmp_path: Path, row: str) -> None:
    file = tmp_path / "edit_size.csv"
    file.write_text(f"{HEADER}{row}\n")
    with pytest.raises(UnwriteError, match="dvc repro -f merge_model"):
        read_edit_sizes(file, recipe.edits)
