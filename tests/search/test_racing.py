"""A trial is stopped only if it could not have been chosen: racing never changes which trial is best."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.samples import sample_trial
from unwrite.search.racing import ANY_TRIAL, Race, Standard, can_be_chosen, tokens_before_giving_up
from unwrite.search.selection import best_within

RATES = st.integers(0, 20).map(lambda count: count / 20)
NATS = st.integers(0, 50).map(lambda count: count / 100)


@given(RATES, NATS, RATES, NATS, RATES)
def test_a_trial_can_be_chosen_exactly_if_it_would_be_at_its_bound(
    best_rate: float, best_kl: float, rate: float, kl: float, highest: float
) -> None:
    best = sample_trial(number=0, behaviour_rate=best_rate, kl=best_kl)
    other = sample_trial(number=1, behaviour_rate=rate, kl=kl)
    chosen = best_within([best, other], highest)
    assert can_be_chosen(Standard(best, highest), kl, rate) == (chosen is other)


@given(RATES, NATS, RATES, NATS, RATES, RATES)
def test_a_trial_that_is_out_stays_out_as_its_bound_rises(
    best_rate: float, best_kl: float, rate: float, kl: float, highest: float, more: float
) -> None:
    standard = Standard(sample_trial(behaviour_rate=best_rate, kl=best_kl), highest)
    if not can_be_chosen(standard, kl, rate):
        assert not can_be_chosen(standard, kl, min(1.0, rate + more))


def test_any_trial_can_be_chosen_before_there_is_a_best_one() -> None:
    assert can_be_chosen(ANY_TRIAL, 9.0, 1.0)
    assert can_be_chosen(Standard(None, 0.0), 9.0, 1.0)


@pytest.mark.parametrize(("settled", "expected"), [([3], 3), ([1, 2, 3, 4, 5, 6, 7, 8, 9, 40], 9), ([2, 2, 9], 9)])
def test_nine_tenths_of_the_base_responses_have_settled_first(settled: list[int], expected: int) -> None:
    assert tokens_before_giving_up(settled) == expected


def test_a_trial_is_out_once_its_bound_is_too_high_and_its_tokens_are_enough() -> None:
    best = sample_trial(behaviour_rate=0.0, kl=0.5)
    race = Race(Standard(best, 0.25), [0.1, 0.1, 0.9], prompts=4, tokens=3)
    shown = {0, 1, 4}  # two of the first trial's four prompts, one of the second's
    assert not race.given_up(2, 3, shown)  # too early to tell
    assert race.given_up(2, 4, shown)
    assert race.given_up(3, 0, set())  # the rest of the trial is not even started
    assert not race.given_up(5, 4, shown)  # at the limit it can still be chosen
    assert race.given_up(5, 4, {4, 5})
    assert race.given_up(8, 4, set())  # its KL divergence alone is too high
