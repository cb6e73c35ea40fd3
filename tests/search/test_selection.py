"""Choosing a trial: the lowest KL divergence within the rate, else the lowest rate with a warning, or a named one."""

from __future__ import annotations

import pytest

from tests.support.samples import sample_trial
from unwrite.errors import UnwriteError
from unwrite.search.selection import best_within, choose_trial

FRONT = [sample_trial(7, 0.0, 0.9), sample_trial(2, 0.04, 0.3), sample_trial(5, 0.2, 0.1), sample_trial(3, 0.6, 0.01)]
TRIALS = sorted([*FRONT, sample_trial(0, 0.6, 0.9), sample_trial(6, 0.3, 0.3)], key=lambda t: t.number)


@pytest.mark.parametrize(("rate", "number"), [(0.0, 7), (0.03, 7), (0.04, 2), (0.1, 2), (0.2, 5), (0.99, 3), (1.0, 3)])
def test_the_lowest_kl_within_the_rate_is_chosen(rate: float, number: int, caplog: pytest.LogCaptureFixture) -> None:
    chosen, why = choose_trial(TRIALS, FRONT, rate, None)
    assert chosen.number == number
    assert why == f"lowest KL divergence at a behaviour rate of at most {100 * rate:.1f} %"
    assert caplog.records == []


def test_without_a_trial_within_the_rate_the_lowest_rate_is_chosen_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen, why = choose_trial(TRIALS, FRONT[1:], 0.01, None)
    assert chosen.number == 2
    assert why == "lowest behaviour rate; none reached 1.0 %"
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert warning.getMessage().startswith("no trial reached select.max_behaviour_rate 1.0 %; the lowest is 4.0 %.")


@pytest.mark.parametrize("number", [0, 2, 6])
def test_a_named_trial_is_chosen_whether_on_the_front_or_not(number: int) -> None:
    chosen, why = choose_trial(TRIALS, FRONT, 0.05, number)
    assert chosen == next(t for t in TRIALS if t.number == number)
    assert why == "named by number"


@pytest.mark.parametrize("number", [1, 8, 4000])
def test_a_named_trial_without_measurements_is_refused(number: int) -> None:
    with pytest.raises(UnwriteError, match=rf"select\.trial is {number}, which is not in .*trials\.csv \(0–7\) or was"):
        choose_trial(TRIALS, FRONT, 0.05, number)


def test_trials_off_the_front_are_never_better() -> None:
    for rate in (0.0, 0.04, 0.1, 0.3, 1.0):
        assert best_within(TRIALS, rate) == best_within(FRONT, rate)
