"""The paired difference agrees with the paired t test, and is more precise than two independent means."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from unwrite.core.paired_difference import paired_difference

VALUES = st.floats(-100, 100, allow_subnormal=False)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=30))
def test_it_agrees_with_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    differences = [new - old for old, new in pairs]
    mean, error = paired_difference(before, after)
    assert error is not None
    assert math.isclose(mean, math.fsum(differences) / len(differences), rel_tol=1e-9, abs_tol=1e-9)
    by_hand = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (len(pairs) - 1) / len(pairs))
    assert math.isclose(error, by_hand, rel_tol=1e-9, abs_tol=1e-9)
    if error > 1e-3:
        assert math.isclose(ttest_rel(after, before).statistic, mean / error, rel_tol=1e-6, abs_tol=1e-6)


def test_a_hand_worked_case() -> None:
    mean, error = paired_difference([True, False, True, True], [1, 0, 0, 0])
    assert mean == -0.5
    assert error == pytest.approx(math.sqrt(1 / 3) / 2, abs=1e-12)


def test_what_is_hard_for_both_cancels() -> None:
    before = [0.0, 1.0] * 20
    assert paired_difference(before, [value + 0.1 for value in before]).error == pytest.approx(0, abs=1e-9)
    shifted = paired_difference(before, [1.1 - value for value in before]).error  # the control: not paired at all
    assert shifted is not None
    assert shifted > 0.1


def test_one_pair_has_no_error() -> None:
    assert paired_difference([1], [0.5]) == (-0.5, None)


@pytest.mark.parametrize(("before", "after"), [([], []), ([1.0], []), ([1.0], [1.0, 2.0])])
def test_unequal_or_empty_lists_are_refused(before: list[float], after: list[float]) -> None:
    with pytest.raises(ValueError, match="as many values, at least one"):
        paired_difference(before, after)
