"""The base class of every error that the hub library's HTTP library raises."""

from __future__ import annotations


def transport_error() -> type[Exception]:
    """Return the class from which the hub library derives its own error, whichever HTTP library its version uses."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return base
