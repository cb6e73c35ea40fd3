"""A declared edit that an honest one hardly resembles is told in the verdict."""

from __future__ import annotations

import torch

from tests.support.samples import sample_direction, sample_edit, sample_recipe, sample_writer
from unwrite.release.compare import ReleaseComparison
from unwrite.release.recipe_checks import RecipeFiles
from unwrite.release.tensor_comparison import TensorComparison
from unwrite.release.unusual import unusual_facts


def files(strength: float = 1.0, *, zero: bool = False, bias: bool = False) -> RecipeFiles:
    """A recipe of two edits, the second with direction 2."""
    edits = [
        sample_edit(sample_writer(layer, bias=bias), strength if layer else 1.0, sample_direction(float(layer + 1)))
        for layer in (0, 1)
    ]
    directions = torch.ones(1, 3, 8)
    if zero:
        directions[0, 2] = 0
    return RecipeFiles(sample_recipe(edits), {"directions": directions})


def comparison(name: str = "0.mlp.weight", **changes: object) -> ReleaseComparison:
    one = TensorComparison(declared=True, base_squares=4.0, change_squares=1.0)._replace(**changes)  # type: ignore[arg-type]
    return ReleaseComparison({}, {}, [], {name: one})


def test_ordinary_edit_is_not_unusual() -> None:
    for strength in (-3.0, 0.1, 3.0):
        assert unusual_facts(files(strength), comparison()) == []
    assert unusual_facts(None, None) == []


def test_strength_out_of_range_is_told() -> None:
    assert unusual_facts(files(3.5), None) == ["λ up to 3.5 (usual: 3 at most)"]
    assert unusual_facts(files(-40.0), None) == ["λ up to -40 (usual: 3 at most)"]


def test_zero_direction_is_told() -> None:
    assert unusual_facts(files(zero=True), None) == ["the direction of 1 of 2 edits is zero"]
    between = files(zero=True)
    edit = between.recipe.edits[1].model_copy(update={"direction": sample_direction(1.5)})
    recipe = between.recipe.model_copy(update={"edits": [edit]})
    assert unusual_facts(RecipeFiles(recipe, between.directions), None) == []  # between zero and a direction


def test_values_that_are_not_finite_are_told() -> None:
    assert unusual_facts(None, comparison(finite=False)) == ["NaN or infinite weights in 0.mlp.weight"]


def test_large_change_is_told_of_matrices_only() -> None:
    assert unusual_facts(files(), comparison(change_squares=4.0)) == [
        "‖ΔW‖ is 1 ‖W‖ in 0.mlp.weight (usual: 0.75 at most)"
    ]
    assert unusual_facts(files(bias=True), comparison("0.mlp.bias", change_squares=4.0)) == []
    assert "inf" in unusual_facts(files(), comparison(base_squares=0.0))[0]
