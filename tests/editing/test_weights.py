"""Weights in memory: exactly those of a release, or, from products, equal up to the rounding of the model's dtype."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support import subjects
from tests.support.architectures import written_by
from tests.support.edited import edit_on_disk
from tests.support.samples import sample_direction, sample_edit, sample_layout, sample_recipe, sample_writer
from tests.support.weights import (
    DIRECTIONS,
    EXPERTS,
    MEANS,
    MODES,
    NORMED,
    PARAMETERS,
    PLAIN,
    TRANSPOSED,
    cache_in_memory,
    edits_of,
)
from tests.support.zoo import zoo_model
from unwrite.editing.exact import edited_parameters, parameter_names
from unwrite.editing.weights import edited, edited_weights
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Writer
from unwrite.terms import NormPreservation

DTYPES = (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("writer", [PLAIN, TRANSPOSED, NORMED, EXPERTS], ids=["plain", "transposed", "norm", "experts"])
def test_weights_from_products_equal_the_exact_ones_up_to_rounding(writer: Writer, mode: NormPreservation) -> None:
    for edit in edits_of(writer):
        actual = edited_weights([edit], cache_in_memory(mode))
        expected = edited_parameters([edit], PARAMETERS, mode, DIRECTIONS, MEANS)
        assert set(actual) == set(expected)
        for name, value in actual.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-9)
            assert not torch.equal(value, PARAMETERS[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_keep_their_dtype_and_are_rounded_once(dtype: torch.dtype) -> None:
    parameters = {name: value.to(dtype) for name, value in PARAMETERS.items()}
    cache = cache_in_memory("rows", parameters=parameters)
    (actual,) = edited_weights(edits_of(PLAIN)[:1], cache).values()
    (expected,) = edited_parameters(edits_of(PLAIN)[:1], parameters, "rows", DIRECTIONS, MEANS).values()
    assert actual.dtype == dtype
    torch.testing.assert_close(actual, expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_a_quantized_weight_is_not_edited_in_memory() -> None:
    quantized = {**PARAMETERS, "0.mlp.weight": torch.zeros(3, dtype=torch.uint8)}
    with pytest.raises(UnwriteError, match=r"0\.mlp\.weight is quantized in memory"):
        edited_weights(edits_of(PLAIN)[:1], cache_in_memory("none", parameters=quantized))


def values_of(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    return {name: model.get_parameter(name).detach().clone() for name in names}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["starcoder2", "gemma2", "dbrx"])
def test_an_edited_model_holds_the_bits_of_the_merged_checkpoint(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = zoo_model(name, dtype)
    model.save_pretrained(tmp_path)
    writers = written_by(name, model)
    edits = [sample_edit(writer, 0.8, sample_direction(writer.layer + 0.5, orthogonalize_to=1)) for writer in writers]
    recipe = sample_recipe(edits, norm_preservation="columns")
    stored = {"directions": subjects.DIRECTIONS, "baseline_mean": subjects.MEANS}
    names = parameter_names(edits)
    before = values_of(model, names)
    tensors = [model.get_parameter(name).data_ptr() for name in names]
    with edited(model, recipe, stored):
        during = values_of(model, names)
    edit_on_disk(tmp_path, recipe, stored)
    merged = values_of(type(model).from_pretrained(tmp_path, dtype=dtype), names)
    assert all(torch.equal(during[name], merged[name]) for name in names)
    assert not torch.equal(during[edits[0].matrix.parameter], before[edits[0].matrix.parameter])
    assert all(torch.equal(value, before[name]) for name, value in values_of(model, names).items())
    assert [model.get_parameter(name).data_ptr() for name in names] == tensors


class Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)


def test_an_exception_restores_the_parameters() -> None:
    model = Linear(PARAMETERS["0.mlp.weight"])
    recipe = sample_recipe([sample_edit(sample_writer(matrix=sample_layout("weight")))])
    original = model.weight.data_ptr()

    def fail() -> None:
        with edited(model, recipe, {"directions": DIRECTIONS, "baseline_mean": MEANS}):
            assert model.weight.data_ptr() != original
            raise RuntimeError("the kettle boils over")

    with pytest.raises(RuntimeError, match="kettle"):
        fail()
    assert model.weight.data_ptr() == original
    assert torch.equal(model.weight, PARAMETERS["0.mlp.weight"])


def test_a_quantized_model_is_refused_before_it_is_edited() -> None:
    model = Linear(torch.zeros(3, dtype=torch.uint8))
    recipe = sample_recipe([sample_edit(sample_writer(matrix=sample_layout("weight")))])
    with (
        pytest.raises(UnwriteError, match="weight is quantized in memory"),
        edited(model, recipe, {"directions": DIRECTIONS, "baseline_mean": MEANS}),
    ):
        pass


def test_a_recipe_for_another_model_is_an_expected_error() -> None:
    recipe = sample_recipe([sample_edit(sample_writer(matrix=sample_layout("teapot")))])
    with (
        pytest.raises(UnwriteError, match=r"The recipe names teapot, which the model does not have\. Use the model"),
        edited(Linear(PARAMETERS["0.mlp.weight"]), recipe, {"directions": DIRECTIONS, "baseline_mean": MEANS}),
    ):
        pass


def test_a_direction_that_is_not_stored_is_an_error_without_the_remedy_for_weights() -> None:
    recipe = sample_recipe([sample_edit(sample_writer(matrix=sample_layout("weight")), 1.0, sample_direction(99.0))])
    with (
        pytest.raises(UnwriteError, match=r"^weight: direction index must be in \[0, \d\], got 99\.0\.$"),
        edited(Linear(PARAMETERS["0.mlp.weight"]), recipe, {"directions": DIRECTIONS, "baseline_mean": MEANS}),
    ):
        pass
