"""Blocks of values: what differs is counted, and what differs by one unit in the last place is counted apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unwrite.release.tensor_comparison import TensorComparison, with_block

EMPTY = TensorComparison(declared=True)
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def data(values: Tensor) -> bytes:
    return values.view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("name", DTYPES)
def test_equal_values_only_count(name: str) -> None:
    values = torch.arange(4).to(DTYPES[name])
    assert with_block(EMPTY, name, data(values), data(values), data(values))[:6] == (True, 4, 0, 0, 0.0, True)
    edited = with_block(EMPTY, name, data(values + 1), data(values), data(values))
    assert edited[:6] == (True, 4, 0, 0, 0.0, False)


@pytest.mark.parametrize("name", DTYPES)
def test_a_neighbour_is_a_rounding_and_the_next_but_one_is_not(name: str) -> None:
    expected = torch.tensor([1.0, -1.0, 0.0, 3.0]).to(DTYPES[name])
    up = torch.full((), torch.inf, dtype=DTYPES[name])
    one_ulp = torch.nextafter(expected, up)
    two_ulps = torch.nextafter(one_ulp, up)
    rounded = with_block(EMPTY, name, data(expected), data(expected), data(one_ulp))
    assert (rounded.differing, rounded.rounded) == (4, 4)
    assert rounded.largest == float((one_ulp - expected).abs().max())
    apart = with_block(EMPTY, name, data(expected), data(expected), data(two_ulps))
    assert (apart.differing, apart.rounded) == (4, 0)


def test_blocks_add_up_and_keep_the_largest_difference() -> None:
    values = torch.zeros(4)
    found = EMPTY
    for difference in (2.0, 5.0, 3.0):
        actual = values.clone()
        actual[1] = difference
        found = with_block(found, "F32", data(values), data(values), data(actual))
    assert found[:6] == (True, 12, 3, 0, 5.0, False)


def test_other_dtypes_are_compared_as_bytes() -> None:
    expected, actual = torch.tensor([1, 2]), torch.tensor([1, 3])
    assert with_block(EMPTY, "I64", data(expected), data(expected), data(actual))[:6] == (True, 16, 1, 0, 1.0, False)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite_are_found(name: str, wrong: float) -> None:
    values = torch.tensor([1.0, -2.0, 0.0, torch.finfo(DTYPES[name]).min], dtype=DTYPES[name])
    found = with_block(EMPTY, name, data(values), data(values), data(values))
    assert found.finite
    values[1] = wrong
    assert not with_block(found, name, data(values), data(values), data(values)).finite


@pytest.mark.parametrize("name", DTYPES)
def test_norms_of_weight_and_change_add_up(name: str) -> None:
    base, expected = torch.tensor([3.0, 4.0]).to(DTYPES[name]), torch.tensor([3.0, 2.0]).to(DTYPES[name])
    found = with_block(EMPTY, name, data(base), data(expected), data(expected))
    found = with_block(found, name, data(base), data(base), data(base))
    assert (found.base_squares, found.change_squares) == (50.0, 4.0)
    undeclared = with_block(TensorComparison(declared=False), name, data(base), data(base), data(base))
    assert (undeclared.base_squares, undeclared.change_squares) == (0.0, 0.0)
