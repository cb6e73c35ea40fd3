"""The exact test of paired outcomes and its correction agree with their formulas and with statsmodels."""

from itertools import product
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from unwrite.core.significance import holm_adjusted, mcnemar_p


@pytest.mark.parametrize(("b", "c"), list(product([0, 1, 2, 7, 40], [0, 1, 3, 12, 100])))
def test_the_p_value_is_that_of_statsmodels_and_of_the_binomial_tail(b: int, c: int) -> None:
    p = mcnemar_p(b, c)
    assert p == pytest.approx(mcnemar([[5, b], [c, 9]], exact=True).pvalue, abs=1e-9)
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert p == pytest.approx(min(1.0, 2 * tail), abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_order_of_the_models_does_not_matter_and_a_clearer_difference_is_less_likely(b: int, c: int) -> None:
    assert mcnemar_p(b, c) == mcnemar_p(c, b)
    if b >= c:
        assert mcnemar_p(b + 1, c) <= mcnemar_p(b, c) + 1e-12 or b == c


def test_pairs_that_do_not_differ_say_nothing() -> None:
    assert mcnemar_p(0, 0) == 1
    with pytest.raises(ValueError, match="at least 0, got -1 and 2"):
        mcnemar_p(-1, 2)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_adjusted_p_values_are_those_of_holms_steps(p_values: list[float]) -> None:
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    expected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[i])
        expected[i] = min(1.0, largest)
    assert holm_adjusted(p_values) == pytest.approx(expected, abs=1e-9)


def test_one_test_is_not_adjusted_and_no_test_is_none() -> None:
    assert holm_adjusted([0.03]) == [0.03]
    assert holm_adjusted([]) == []
