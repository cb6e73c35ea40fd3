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
    assert with_block(EMPTY, name, data(values), data(values), data(values)) == (True, 4, 0, 0, 0.0, True)
    edited = with_block(EMPTY, name, data(values + 1), data(values), data(values))
    assert edited == (True, 4, 0, 0, 0.0, False)


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
    assert found == (True, 12, 3, 0, 5.0, False)


def test_other_dtypes_are_compared_as_bytes() -> None:
    expected, actual = torch.tensor([1, 2]), torch.tensor([1, 3])
    assert with_block(EMPTY, "I64", data(expected), data(expected), data(actual)) == (True, 16, 1, 0, 1.0, False)
