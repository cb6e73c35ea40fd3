"""Every error of the hub is explained with its remedy and the state of the repository."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from tests.support.hub_answers import answer, invalid_json
from unwrite.errors import UnwriteError
from unwrite.release.hub_errors import hub_errors_explained


def explanation(error: BaseException) -> str:
    with pytest.raises(UnwriteError) as raised, hub_errors_explained("teaware/kettle", "The state."):
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
        (answer(500), "The hub answered 500. The hub is unavailable: try again later."),
        (answer(418), "The hub answered 418. The hub does not accept this release."),
        (ConnectionError("reset"), "The connection to the hub failed (reset). Check the network."),
        (invalid_json(), "The hub returned an invalid response (not JSON). Check the network."),
        (caused(answer(500)), "The hub answered 500. The hub is unavailable"),
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
