"""An error that may pass is retried after the pause that the hub asks for; any other is raised at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from tests.support.hub_answers import answer, invalid_json
from unwrite.release.hub_retry import retry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, without waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def failing(*errors: Exception) -> Callable[[], str]:
    """A call that raises these errors, one after another, and then succeeds."""
    remaining = list(errors)

    def call() -> str:
        if remaining:
            raise remaining.pop(0)
        return "done"

    return call


@pytest.mark.parametrize(
    "error",
    [*(answer(status) for status in (408, 429, 500, 502, 503, 504)), ConnectionError(), TimeoutError(), invalid_json()],
    ids=repr,
)
def test_error_that_may_pass_is_retried(error: Exception, pauses: list[float]) -> None:
    assert retry(failing(error, error)) == "done"
    assert pauses == [1, 2]


@pytest.mark.parametrize("error", [*(answer(status) for status in (400, 401, 403, 404)), OfflineModeIsEnabled("off")])
def test_permanent_error_is_not_retried(error: Exception, pauses: list[float]) -> None:
    with pytest.raises(type(error)):
        retry(failing(error))
    assert pauses == []


def test_sixth_failure_is_raised(pauses: list[float]) -> None:
    with pytest.raises(HfHubHTTPError):
        retry(failing(*[answer(503)] * 6))
    assert pauses == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "77"}, 77),
        ({"ratelimit": '"api";r=0;t=55'}, 55),
        ({"ratelimit": '"api";r=7;t=55'}, 1),  # requests remain
        ({"ratelimit": "nonsense", "Retry-After": "9"}, 9),
        ({"Retry-After": "soon"}, 1),
        ({}, 1),
    ],
)
def test_pause_is_the_one_that_the_hub_asks_for(headers: dict[str, str], expected: float, pauses: list[float]) -> None:
    retry(failing(answer(429, headers)))
    assert pauses == [expected]


def test_pause_may_be_a_date(pauses: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=200), usegmt=True)
    retry(failing(answer(503, {"Retry-After": date})))
    assert 100 < pauses[0] <= 200


def test_retry_is_logged(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="unwrite"):
        retry(failing(answer(503)))
    assert caplog.messages == ["The hub answered 503. Trying again in 1 s."]
