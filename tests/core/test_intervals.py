"""Wilson's and the bootstrap interval against the formulas written out, other libraries and simulations."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from unwrite.core.intervals import bootstrap_interval, wilson_interval


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_interval_equals_the_closed_form(n: int, share: float, confidence: float) -> None:
    successes = round(share * n)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    interval = wilson_interval(successes, n, confidence)
    assert interval == pytest.approx((middle - half, middle + half), abs=1e-9)
    assert interval == pytest.approx(proportion_confint(successes, n, 1 - confidence, method="wilson"), abs=1e-9)


def covered(rate: float, n: int, *, wald: bool = False) -> float:
    """How often the interval of a sample holds the rate, over 2000 samples."""
    drawn = np.random.default_rng(0).binomial(n, rate, 2000)
    intervals = {}
    for k in set(drawn.tolist()):
        half = 1.96 * math.sqrt(k / n * (1 - k / n) / n)
        intervals[k] = (k / n - half, k / n + half) if wald else wilson_interval(k, n)
    return float(np.mean([intervals[k][0] <= rate <= intervals[k][1] for k in drawn.tolist()]))


@pytest.mark.parametrize("n", [30, 100])
def test_samples_have_intervals_that_hold_the_rate_about_as_often_as_they_say(n: int) -> None:
    found = [covered(rate, n) for rate in np.linspace(0.01, 0.99, 25)]
    assert np.mean(found) == pytest.approx(0.95, abs=0.01)
    assert min(found) > 0.89


def test_control_the_textbook_interval_misses_a_small_rate_far_more_often() -> None:
    assert covered(0.01, 100, wald=True) < 0.7


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


SKEWED = np.random.default_rng(1).lognormal(-4, 1.5, 60).tolist()


def test_the_bootstrap_interval_is_that_of_efrons_formula() -> None:
    values, rng = np.array(SKEWED), np.random.default_rng(0)
    n = len(values)
    means = np.concatenate([values[rng.integers(0, n, (rows, n))].mean(1) for rows in [1000] * 9 + [999]])
    z0 = norm.ppf(((means < values.mean()).mean() + (means <= values.mean()).mean()) / 2)
    influence = values.mean() - (values.sum() - values) / (n - 1)
    a = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    z = z0 + norm.ppf([0.025, 0.975])
    expected = np.quantile(means, norm.cdf(z0 + z / (1 - a * z)))
    assert bootstrap_interval(SKEWED) == pytest.approx(tuple(expected), rel=1e-9)


def test_the_bootstrap_interval_is_the_same_every_time_and_wider_with_more_confidence() -> None:
    assert bootstrap_interval(SKEWED) == bootstrap_interval(SKEWED)
    narrow, wide = bootstrap_interval(SKEWED, 0.8), bootstrap_interval(SKEWED, 0.99)
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < np.mean(SKEWED) < narrow[1] < wide[1]


def test_of_a_skewed_sample_it_reaches_further_up_than_down() -> None:
    interval = bootstrap_interval(SKEWED)
    assert interval is not None
    assert interval[1] - np.mean(SKEWED) > 1.2 * (np.mean(SKEWED) - interval[0])


def test_one_value_has_no_interval_and_equal_values_have_an_empty_one() -> None:
    assert bootstrap_interval([0.3]) is None
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([0.3] * 5) == (0.3, 0.3)
    two = bootstrap_interval([0.1, 0.2])
    assert two is not None
    assert two == pytest.approx((0.1, 0.2))


@pytest.mark.parametrize("sample", [[0.0] * 99 + [1.0], [1.0, 1.0 + 2**-52, 1.0], [0.0, 1e-300], [0.5] * 50 + [0.6]])
def test_nearly_constant_values_have_an_interval_too(sample: list[float]) -> None:
    interval = bootstrap_interval(sample)
    assert interval is not None
    assert min(sample) <= interval[0] <= interval[1] <= max(sample) * (1 + 1e-12)


def test_a_bootstrap_needs_a_confidence_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        bootstrap_interval([0.1, 0.2], 1)
