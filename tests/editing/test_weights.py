"""Weights in memory, edited from products: those of a release, to the rounding of the dtype that trials compute in."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.editing.test_edit_cache import (
    DIRECTIONS,
    EXPERTS,
    MEANS,
    MODES,
    NORMED,
    PARAMETERS,
    PLAIN,
    TRANSPOSED,
    closed_form,
    edits_of,
)
from unwrite.editing.edit_cache import blocks_in_memory
from unwrite.editing.exact import edited_parameters
from unwrite.editing.weights import edited_weights
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Writer
from unwrite.terms import NormPreservation


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("writer", [PLAIN, TRANSPOSED, NORMED, EXPERTS], ids=["plain", "transposed", "norm", "experts"])
def test_weights_in_memory_are_those_of_a_release_to_rounding(writer: Writer, mode: NormPreservation) -> None:
    for edit in edits_of(writer):
        found = edited_weights([edit], closed_form(mode))
        wanted = edited_parameters([edit], PARAMETERS, mode, DIRECTIONS, MEANS)
        assert set(found) == set(wanted)
        for name, value in found.items():
            torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-9)
            assert not torch.equal(value, PARAMETERS[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_keep_their_dtype_and_are_rounded_once(dtype: torch.dtype) -> None:
    parameters = {name: value.to(dtype) for name, value in PARAMETERS.items()}
    form = closed_form("rows")._replace(blocks=partial(blocks_in_memory, parameters), parameters=parameters)
    (found,) = edited_weights(edits_of(PLAIN)[:1], form).values()
    (wanted,) = edited_parameters(edits_of(PLAIN)[:1], parameters, "rows", DIRECTIONS, MEANS).values()
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_a_quantized_weight_is_not_edited_in_memory() -> None:
    form = closed_form("none")._replace(parameters={**PARAMETERS, "0.mlp.weight": torch.zeros(3, dtype=torch.uint8)})
    with pytest.raises(UnwriteError, match=r"0\.mlp\.weight is quantized in memory"):
        edited_weights(edits_of(PLAIN)[:1], form)
