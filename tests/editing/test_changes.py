"""Which stored tensors a recipe changes: every part of its weights and biases, on a checkpoint that it fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.samples import sample_direction, sample_edit, sample_layout, sample_recipe, sample_writer
from tests.support.small_checkpoint import DIRECTIONS, random, saved
from unwrite.editing.changes import changes_of, check_recipe_fits, read_norms
from unwrite.editing.exact import applied_direction, resolve_direction
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Norm


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_stored_tensor_of_a_recipe_has_its_change() -> None:
    norm = Norm(parameter="n", tensor="stored.n", offset=0.5)
    writers = [sample_writer(0, "mlp", bias=True, norms=[norm]), sample_writer(1, "attention")]
    edits = [sample_edit(writer, 0.5 + writer.layer, sample_direction(1.25)) for writer in writers]
    weights = {"0.mlp.weight": random(8, 16), "0.mlp.bias": random(8), "1.attention.weight": random(8, 16)}
    tensors = saved(weights | {"stored.n": random(8).abs()})
    changes = changes_of(sample_recipe(edits, norm_preservation="columns"), tensors, DIRECTIONS)
    assert list(changes) == ["0.mlp.weight", "0.mlp.bias", "1.attention.weight"]
    assert [change.bias for change in changes.values()] == [False, True, False]
    assert [change.strength for change in changes.values()] == [0.5, 0.5, 1.5]
    assert {change.norm_preservation for change in changes.values()} == {"columns"}
    v = resolve_direction(sample_direction(1.25), DIRECTIONS["directions"], DIRECTIONS["baseline_mean"])
    assert torch.equal(changes["1.attention.weight"].direction, v)
    through = torch.nn.functional.normalize(v * (0.5 + load_file("model.safetensors")["stored.n"]), dim=0)
    torch.testing.assert_close(changes["0.mlp.weight"].direction, through)
    assert torch.equal(changes["0.mlp.bias"].direction, changes["0.mlp.weight"].direction)


def test_a_tensor_that_is_edited_twice_is_refused() -> None:
    edits = [sample_edit(sample_writer(0, "mlp")), sample_edit(sample_writer(0, "mlp"))]
    with pytest.raises(UnwriteError, match=r"edits 0\.mlp\.weight twice"):
        changes_of(sample_recipe(edits), saved({"0.mlp.weight": random(8, 16)}), DIRECTIONS)


def test_a_norms_weight_is_read_by_its_name_in_the_model() -> None:
    norms = [Norm(parameter="n", tensor="stored.n", offset=1.0), Norm(parameter=None, tensor=None, offset=0.0)]
    of = sample_edit(sample_writer(norms=norms))
    actual = read_norms(saved({"stored.n": torch.arange(8.0)}), of)
    assert list(actual) == ["n"]
    assert torch.equal(actual["n"], torch.arange(8.0))
    ones = torch.nn.functional.normalize(torch.ones(8).double(), dim=0).expand(1, 3, 8)
    u = applied_direction(of.direction, of.norms, ones, ones, actual)
    torch.testing.assert_close(u, torch.nn.functional.normalize((1 + torch.arange(8.0)).double(), dim=0))


def test_weights_biases_and_norms_that_do_not_fit_are_refused() -> None:
    norm = Norm(parameter="n", tensor="n", offset=1.0)
    of = sample_edit(
        sample_writer(matrix=sample_layout("w"), bias=sample_layout("b"), norms=[norm]), 1.0, sample_direction()
    )
    fitting = {"w": torch.ones(8, 3), "b": torch.ones(8), "n": torch.ones(8)}
    check_recipe_fits(saved(fitting), sample_recipe([of]), 8)
    for name, wrong in (("w", torch.ones(9, 3)), ("b", torch.ones(2, 8)), ("n", torch.ones(9))):
        with pytest.raises(
            UnwriteError, match=rf"^{name} has shape .* Use the base model that the recipe was made for\."
        ):
            check_recipe_fits(saved(fitting | {name: wrong}), sample_recipe([of]), 8)
    with pytest.raises(UnwriteError, match=r"edit\.json names n, which the checkpoint does not have"):
        check_recipe_fits(saved({name: fitting[name] for name in fitting if name != "n"}), sample_recipe([of]), 8)
    with pytest.raises(
        UnwriteError, match=r"w: a weight must hold 1 matrices .*, got shape \[8, 3, 2, 1\]\. Use the base"
    ):
        check_recipe_fits(saved(fitting | {"w": torch.ones(8, 3, 2, 1)}), sample_recipe([of]), 8)
    with pytest.raises(UnwriteError, match="stores a tensor as I64"):
        check_recipe_fits(saved(fitting | {"b": torch.ones(8, dtype=torch.long)}), sample_recipe([of]), 8)


def test_a_recipe_for_another_hidden_size_has_no_changes() -> None:
    tensors = saved({"0.mlp.weight": random(8, 16)})
    recipe = sample_recipe([sample_edit(sample_writer(0, "mlp"))])
    assert list(changes_of(recipe, tensors, DIRECTIONS)) == ["0.mlp.weight"]
    wider = {name: torch.ones(1, 4, 9) / 3 for name in DIRECTIONS}
    with pytest.raises(UnwriteError, match=r"0\.mlp\.weight has shape \[8, 16\], but .* needs 1 × hidden size 9"):
        changes_of(recipe, tensors, wider)


@pytest.mark.parametrize("index", [-0.5, 3.5])
def test_a_direction_index_outside_the_directions_is_refused(index: float) -> None:
    tensors = saved({"0.mlp.weight": random(8, 16)})
    edits = [sample_edit(sample_writer(0, "mlp"), 1.0, sample_direction(index))]
    with pytest.raises(UnwriteError, match=rf"^0\.mlp\.weight: direction index must be in \[0, 3\], got {index}\.$"):
        changes_of(sample_recipe(edits), tensors, DIRECTIONS)
