"""Unmeasured trials: their log messages, and the failure of a search without any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.samples import sample_outcome, sample_trial
from unwrite.errors import UnwriteError
from unwrite.search.failures import report_failures
from unwrite.search.trials import OVER_MAX_KL, Measured, TrialOutcome

FOLDER = Path(".unwrite/search/key")
GOOD = sample_outcome(sample_trial())
ABOVE = GOOD._replace(measured=Measured(None, 9.0), reason=OVER_MAX_KL)


def failed(reason: str) -> TrialOutcome:
    return GOOD._replace(measured=None, reason=reason)


def test_a_search_without_failures_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unwrite")
    report_failures([GOOD, GOOD], FOLDER)
    assert caplog.records == []


def test_failures_are_counted_and_the_most_common_reason_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unwrite")
    report_failures([GOOD, failed("one"), failed("spilt tea."), failed("spilt tea."), ABOVE], FOLDER)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "1 of 5 trials were above optimize.max_kl and not measured further."),
        (
            "WARNING",
            "3 of 5 trials failed, 2 of them because: spilt tea. They count as tried; delete .unwrite/search/key to "
            "try them again.",
        ),
    ]


def test_a_search_whose_trials_all_failed_is_an_error() -> None:
    expected = (
        r"^2 of 2 trials failed, 2 of them because: spilt tea\. None was measured\.\n.*delete \.unwrite/search/key"
    )
    with pytest.raises(UnwriteError, match=expected):
        report_failures([failed("spilt tea"), failed("spilt tea")], FOLDER)


def test_a_search_whose_trials_are_all_above_max_kl_is_an_error() -> None:
    with pytest.raises(UnwriteError, match=r"^Every trial is above optimize\.max_kl: raise it"):
        report_failures([ABOVE, ABOVE], FOLDER)


def test_failed_trials_and_trials_above_max_kl_alone_are_an_error() -> None:
    """Without one, the front would be empty, and there would be no trial to select."""
    with pytest.raises(UnwriteError, match=r"^1 of 2 trials failed, .* None was measured\."):
        report_failures([ABOVE, failed("spilt tea")], FOLDER)
