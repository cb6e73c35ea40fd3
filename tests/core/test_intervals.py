"""Wilson's interval against the formula written out."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.intervals import wilson_interval


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_interval_equals_the_closed_form(n: int, share: float, confidence: float) -> None:
    successes = round(share * n)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson_interval(successes, n, confidence) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_zero_successes_have_an_interval_of_non_zero_width() -> None:
    low, high = wilson_interval(0, 20)
    assert low == 0
    assert high == pytest.approx(0.1611, abs=1e-4)
    assert wilson_interval(20, 20) == pytest.approx((1 - high, 1))


def test_more_confidence_gives_a_wider_interval() -> None:
    assert wilson_interval(5, 20, 0.99)[0] < wilson_interval(5, 20)[0] < wilson_interval(5, 20, 0.5)[0] < 0.25


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5), (0, -1)])
def test_counts_out_of_range_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"got {successes} of {n}"):
        wilson_interval(successes, n)


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        wilson_interval(1, 2, confidence)
