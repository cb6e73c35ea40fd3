"""Every error of the hub, of the network and of the disk is one line that says what to do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import constants, errors

from tests.support.hub_answers import invalid_json
from unwrite.errors import UnwriteError
from unwrite.models.download_errors import download_errors
from unwrite.models.transport import transport_error

# The HTTP library below the hub's own, which changes between its versions.
http = importlib.import_module(transport_error().__module__.partition(".")[0])


def response(status: int) -> Any:
    return http.Response(status, request=http.Request("GET", "https://hub.invalid/teaware"))


def caused(by: Exception) -> Exception:
    """What the library raises where its cache is empty too."""
    error = errors.LocalEntryNotFoundError("nothing cached")
    error.__cause__ = by
    return error


HUB_ERRORS: dict[str, tuple[Callable[[], Exception], str]] = {
    "gated": (
        lambda: errors.GatedRepoError("401", response=response(401)),
        "teaware/kettle at v1 is gated. Accept its terms at https://huggingface.co/teaware/kettle, log in with",
    ),
    "unknown or private": (
        lambda: errors.RepositoryNotFoundError("404", response=response(404)),
        "The hub has no teaware/kettle, or it is private. Check the id, or log in with `hf auth login`",
    ),
    "unknown revision": (
        lambda: errors.RevisionNotFoundError("404", response=response(404)),
        "teaware/kettle has no revision 'v1'. Check model.revision",
    ),
    "not logged in": (
        lambda: errors.HfHubHTTPError("401", response=response(401)),
        "(401). Log in with `hf auth login`, or use a local folder.",
    ),
    "at the limit": (
        lambda: errors.HfHubHTTPError("429 Too Many Requests\nRetry after 55 seconds", response=response(429)),
        "(429 Too Many Requests Retry after 55 seconds). It limits requests: wait some minutes and run again",
    ),
    "at the limit, nothing cached": (
        lambda: caused(errors.HfHubHTTPError("429", response=response(429))),
        "(429). It limits requests",
    ),
    "server error": (
        lambda: errors.HfHubHTTPError("503 \n busy", response=response(503)),
        "from the hub (503 busy). The hub is unavailable: run again later",
    ),
    "no connection": (lambda: http.ConnectError("no route"), "(no route). Check the network, or use a local"),
    "no connection, nothing cached": (lambda: caused(http.ConnectError("no route")), "(no route). Check the network"),
    "too slow": (lambda: http.ReadTimeout(""), "(ReadTimeout). Check the network"),
    "a proxy's page": (invalid_json, "(its answer is not JSON). Check the network"),
    "disk full": (
        lambda: OSError(28, "No space left on device"),
        "No space left on device). Free some space in",
    ),
    "disk read-only": (lambda: OSError(30, "Read-only file system"), "Read-only file system). Make "),
}


def refusal(error: Exception) -> str:
    with pytest.raises(UnwriteError) as caught, download_errors("teaware/kettle", "v1", "model"):
        raise error
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", HUB_ERRORS)
def test_errors_become_one_line(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    make, expected = HUB_ERRORS[case]
    assert expected in refusal(make())


def test_nothing_cached_is_told_by_what_keeps_the_hub_away(monkeypatch: pytest.MonkeyPatch) -> None:
    error = errors.LocalEntryNotFoundError("nothing cached")
    assert constants.HF_HUB_OFFLINE
    assert "and HF_HUB_OFFLINE is set. Unset it" in refusal(error)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert "(nothing cached). Check the network" in refusal(error)


def test_a_mirror_is_named_with_the_variable_that_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://mirror.invalid")
    assert "network and HF_ENDPOINT (https://mirror.invalid), or use" in refusal(http.ConnectError("no route"))


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), download_errors("teaware/kettle", "v1", "model"):
        raise KeyError("teapot")
