"""An error that may pass is retried after the pause the hub asks for; any other is explained with its remedy."""

from __future__ import annotations

import importlib
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from unwrite.errors import UnwriteError
from unwrite.models.transport import transport_error
from unwrite.release.hub_errors import explained, retried

http = importlib.import_module(transport_error().__module__.partition(".")[0])


def answer(status: int, headers: dict[str, str] | None = None) -> HfHubHTTPError:
    request = http.Request("POST", "https://hub.invalid/teaware")
    return HfHubHTTPError("teapot", response=http.Response(status, headers=headers, request=request))


def invalid_json() -> Exception:
    try:
        json.loads("<html>")
    except json.JSONDecodeError as error:
        return error
    raise AssertionError


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
    assert retried(failing(error, error)) == "done"
    assert pauses == [1, 2]


@pytest.mark.parametrize("error", [*(answer(status) for status in (400, 401, 403, 404)), OfflineModeIsEnabled("off")])
def test_permanent_error_is_not_retried(error: Exception, pauses: list[float]) -> None:
    with pytest.raises(type(error)):
        retried(failing(error))
    assert pauses == []


def test_sixth_failure_is_raised(pauses: list[float]) -> None:
    with pytest.raises(HfHubHTTPError):
        retried(failing(*[answer(503)] * 6))
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
    retried(failing(answer(429, headers)))
    assert pauses == [expected]


def test_pause_may_be_a_date(pauses: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=200), usegmt=True)
    retried(failing(answer(503, {"Retry-After": date})))
    assert 100 < pauses[0] <= 200


def test_retry_is_logged(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="unwrite"):
        retried(failing(answer(503)))
    assert caplog.messages == ["The hub answered 503. Trying again in 1 s."]


def explanation(error: BaseException) -> str:
    with pytest.raises(UnwriteError) as raised, explained("teaware/kettle", "The state."):
        raise error
    return str(raised.value)


def caused(cause: Exception) -> Exception:
    """How the hub's library wraps an error of a large file."""
    error = RuntimeError("a worker failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (answer(401), "The hub answered 401. Log in with `hf auth login`, using a token that can write to teaware/k"),
        (answer(403), "The hub answered 403. The token cannot write to teaware/kettle: log in with one that can"),
        (answer(404), "The hub answered 404. teaware/kettle does not exist, or the token cannot see it"),
        (answer(409), "The hub answered 409. teaware/kettle exists but the token cannot see it"),
        (answer(412), "The hub answered 412. teaware/kettle was changed during the upload"),
        (answer(429), "The hub answered 429. The hub limits the number of requests: wait a few minutes."),
        (answer(500), "The hub answered 500. The hub is out of order: try again later."),
        (answer(418), "The hub answered 418. The hub does not accept this release."),
        (ConnectionError("reset"), "The connection to the hub failed (reset). Check the network."),
        (invalid_json(), "The hub returned an invalid response (not JSON). Check the network."),
        (caused(answer(500)), "The hub answered 500. The hub is out of order"),
        (RuntimeError("no reason"), "A file could not be sent (no reason)."),
        (ValueError("bad"), "The upload stopped: bad"),
        (KeyboardInterrupt(), "Interrupted."),
    ],
    ids=repr,
)  # fmt: skip
def test_error_is_explained_with_its_remedy_and_the_state(error: Any, message: str) -> None:
    text = explanation(error)
    assert text.startswith(message)
    assert text.endswith("\nThe state.")


def test_offline_mode_is_named() -> None:
    assert explanation(OfflineModeIsEnabled("off")) == "An upload needs the hub, but HF_HUB_OFFLINE is set: unset it."
