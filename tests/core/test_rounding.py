"""Rounding from float64 in one step."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unwrite.core.rounding import round_to
from unwrite.errors import UnwriteError

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
BITS = {torch.bfloat16: 8, torch.float16: 11, torch.float32: 24}


def neighbours(value: float, dtype: torch.dtype) -> list[Fraction]:
    """The two numbers of `dtype` around a value, found by stepping from a first guess, as exact fractions."""
    guess = torch.tensor(value, dtype=torch.float64).to(dtype)
    step = torch.tensor([torch.inf, -torch.inf], dtype=dtype)
    around = [guess, torch.nextafter(guess, step[0]), torch.nextafter(guess, step[1])]
    return [Fraction(float(number)) for number in around if bool(number.isfinite())]


@given(st.floats(-60000, 60000), st.sampled_from(DTYPES))
def test_the_result_is_the_nearest_number(value: float, dtype: torch.dtype) -> None:
    rounded = Fraction(float(round_to(torch.tensor([value], dtype=torch.float64), dtype)[0]))
    exact = Fraction(value)
    assert abs(rounded - exact) == min(abs(number - exact) for number in neighbours(value, dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_hair_beside_a_tie_is_no_tie(dtype: torch.dtype) -> None:
    """Where two roundings go wrong: float32 would round the hair away, and the tie then goes to the even side."""
    unit = 2.0 ** (1 - BITS[dtype])
    tie = 1 + unit / 2
    hair = 2.0**-40
    values = torch.tensor([tie - hair, tie, tie + hair, tie + unit - hair, tie + unit], dtype=torch.float64)
    assert round_to(values, dtype).tolist() == [1, 1, 1 + unit, 1 + unit, 1 + 2 * unit]
    assert values.to(dtype).tolist() != round_to(values, dtype).tolist()
    assert round_to(-values, dtype).tolist() == [-1, -1, -1 - unit, -1 - unit, -1 - 2 * unit]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_of_the_dtype_stay(dtype: torch.dtype) -> None:
    numbers = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    numbers[:4] = torch.tensor([0.0, -0.0, torch.finfo(dtype).tiny, torch.finfo(dtype).max], dtype=dtype)
    rounded = round_to(numbers.double(), dtype)
    assert rounded.dtype == dtype
    assert torch.equal(rounded, numbers)
    assert torch.equal(rounded.signbit(), numbers.signbit())


def test_overflow_is_refused() -> None:
    with pytest.raises(UnwriteError, match=r"7e\+04 came, beyond what float16 can hold"):
        round_to(torch.tensor([70000.0], dtype=torch.float64), torch.float16)
