"""Errors of the hub, as its library raises them."""

from __future__ import annotations

import importlib
import json

from huggingface_hub.errors import HfHubHTTPError

from unwrite.models.transport import transport_error

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
