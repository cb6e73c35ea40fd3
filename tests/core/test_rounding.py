"""Rounding from float64 in one step."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unwrite.core.rounding import round_to

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
BITS = {torch.bfloat16: 8, torch.float16: 11, torch.float32: 24}


def neighbours(value: float, dtype: torch.dtype) -> list[Fraction]:
    """Return the numbers of `dtype` around a value as exact fractions, found by stepping from a first guess."""
    guess = torch.tensor(value, dtype=torch.float64).to(dtype)
    step = torch.tensor([torch.inf, -torch.inf], dtype=dtype)
    around = [guess, torch.nextafter(guess, step[0]), torch.nextafter(guess, step[1])]
    return [Fraction(float(number)) for number in around if bool(number.isfinite())]


@given(st.floats(-60000, 60000), st.sampled_from(DTYPES))
def test_the_result_is_the_nearest_number(value: float, dtype: torch.dtype) -> None:
    rounded = Fraction(float(round_to(torch.tensor([value], dtype=torch.float64), dtype)[0]))
    exact = Fraction(value)
    assert abs(rounded - exact) == min(abs(number - exact) for number in neighbours(value, dtype))


@st.composite
def hard_values(draw: st.DrawFn) -> tuple[list[float], torch.dtype]:
    """Draw numbers of a dtype (also subnormal), ties between them, and values a few bits of float64 away."""
    dtype = draw(st.sampled_from(DTYPES))
    integers = torch.int32 if dtype == torch.float32 else torch.int16
    largest = int(torch.tensor(torch.finfo(dtype).max, dtype=dtype).view(integers))
    bits = draw(st.lists(st.integers(0, largest - 1) | st.integers(0, 300), min_size=1, max_size=20))
    numbers = torch.tensor(bits, dtype=integers).view(dtype).double()
    above = (torch.tensor(bits, dtype=integers) + 1).view(dtype).double()
    values = (numbers + above) / 2 if draw(st.booleans()) else numbers
    shifted = values.view(torch.int64) + draw(st.integers(-2, 2)) * 2 ** draw(st.integers(0, 40))
    values = torch.where(shifted >= 0, shifted, 0).view(torch.float64)
    in_range = values[values <= torch.finfo(dtype).max] * draw(st.sampled_from([1, -1]))
    return in_range.tolist(), dtype


@given(hard_values())
def test_the_result_is_the_nearest_number_near_ties_and_below_the_normal_ones(
    case: tuple[list[float], torch.dtype],
) -> None:
    values, dtype = case
    if not values:
        return
    rounded = round_to(torch.tensor(values, dtype=torch.float64), dtype)
    for value, number in zip(values, rounded, strict=True):
        exact, actual = Fraction(value), Fraction(float(number))
        distances = [abs(neighbour - exact) for neighbour in neighbours(value, dtype)]
        assert abs(actual - exact) == min(distances)
        if distances.count(min(distances)) > 1:  # a tie goes to the even side
            assert int(number.view(torch.int32 if dtype == torch.float32 else torch.int16)) % 2 == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan_stay(dtype: torch.dtype) -> None:
    values = torch.tensor([torch.inf, -torch.inf, torch.nan, 1.0], dtype=torch.float64)
    assert torch.equal(round_to(values, dtype)[:2], torch.tensor([torch.inf, -torch.inf], dtype=dtype))
    assert bool(round_to(values, dtype)[2].isnan())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_value_is_refused_only_from_the_tie_above_the_largest_number(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    tie = largest + largest * 2.0 ** -BITS[dtype] / (2 - 2.0 ** (1 - BITS[dtype]))
    below = math.nextafter(tie, 0)
    assert round_to(torch.tensor([below], dtype=torch.float64), dtype).tolist() == [largest]
    with pytest.raises(ValueError, match="values must be at most"):
        round_to(torch.tensor([tie], dtype=torch.float64), dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_value_close_to_a_tie_is_not_rounded_as_a_tie(dtype: torch.dtype) -> None:
    """Rounding twice fails here: float32 would drop the small difference, and the tie would go to the even side."""
    unit = 2.0 ** (1 - BITS[dtype])
    tie = 1 + unit / 2
    difference = 2.0**-40
    values = torch.tensor(
        [tie - difference, tie, tie + difference, tie + unit - difference, tie + unit], dtype=torch.float64
    )
    assert round_to(values, dtype).tolist() == [1, 1, 1 + unit, 1 + unit, 1 + 2 * unit]
    assert values.to(dtype).tolist() != round_to(values, dtype).tolist()
    assert round_to(-values, dtype).tolist() == [-1, -1, -1 - unit, -1 - unit, -1 - 2 * unit]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_of_the_dtype_are_unchanged(dtype: torch.dtype) -> None:
    numbers = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    numbers[:4] = torch.tensor([0.0, -0.0, torch.finfo(dtype).tiny, torch.finfo(dtype).max], dtype=dtype)
    rounded = round_to(numbers.double(), dtype)
    assert rounded.dtype == dtype
    assert torch.equal(rounded, numbers)
    assert torch.equal(rounded.signbit(), numbers.signbit())


def test_overflow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"values must be at most 6.55e\+04 in float16, got 7e\+04"):
        round_to(torch.tensor([70000.0], dtype=torch.float64), torch.float16)
