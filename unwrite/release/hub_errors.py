"""Errors of the hub: retried while they may pass, then explained by what the hub answered and what to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from typing import TypeVar

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.transport import transport_error

T = TypeVar("T")

_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between attempts
_LONGEST_PAUSE = 300.0  # seconds: the window over which the hub counts requests
_MAY_PASS = {408, 429, 500, 502, 503, 504}
_REMEDIES = {
    401: "Log in with `hf auth login`, using a token that can write to {repository}.",
    403: "The token cannot write to {repository}: log in with one that can (`hf auth login`), or choose another name.",
    404: "{repository} does not exist, or the token cannot see it: check the name, or log in with `hf auth login`.",
    409: "{repository} exists but the token cannot see it, or it is being changed: choose another name, or wait.",
    412: "{repository} was changed during the upload: look at that change, then upload again.",
    429: "The hub limits the number of requests: wait a few minutes.",
}
_OTHER_REMEDY = "The hub does not accept this release."

logger = logging.getLogger(__name__)


def retried(call: Callable[[], T]) -> T:
    """Call until it succeeds, as long as the error may pass; return the result."""
    for pause in _PAUSES:
        try:
            return call()
        except _hub_errors() as error:
            seconds = max(pause, _requested_pause(error))
            if not _may_pass(error) or seconds > _LONGEST_PAUSE:
                raise
            logger.warning("%s Trying again in %.0f s.", _described(error), seconds)
        time.sleep(seconds)
    return call()


@contextmanager
def explained(repository: str, state: str) -> Iterator[None]:
    """Raise errors of the hub or its library as expected errors while open.

    Args:
        repository: name of the repository, for the remedy.
        state: last line of the message: the state that the repository is in.
    """
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except KeyboardInterrupt:
        raise UnwriteError(f"Interrupted.\n{state}") from None
    except HFValidationError as error:
        raise UnwriteError(f"{repository!r} is not a valid repository name: {reason_of(error)}") from None
    except OfflineModeIsEnabled:
        raise UnwriteError("An upload needs the hub, but HF_HUB_OFFLINE is set: unset it.") from None
    except _hub_errors() as error:
        raise UnwriteError(f"{_described(error)} {_remedy(error, repository)}\n{state}") from error
    except RuntimeError as error:  # the hub's library wraps an error of a large file in one
        if not isinstance(error.__cause__, Exception):
            raise UnwriteError(f"A file could not be sent ({reason_of(error)}).\n{state}") from error
        with explained(repository, state):
            raise error.__cause__ from None
    except (ValueError, OSError) as error:
        raise UnwriteError(f"The upload stopped: {reason_of(error)}\n{state}") from error


def _hub_errors() -> tuple[type[Exception], ...]:
    """Return every class of error that an exchange with the hub can raise.

    Xet raises Python's own connection errors; a proxy that is out of order answers with something other than JSON.
    """
    return (transport_error(), ConnectionError, TimeoutError, JSONDecodeError)


def _status(error: Exception) -> int | None:
    """Return the status that the hub answered with; None if there was no answer."""
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _may_pass(error: Exception) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = _status(error)
    return not isinstance(error, OfflineModeIsEnabled) if status is None else status in _MAY_PASS


def _requested_pause(error: Exception) -> float:
    """Return the seconds that the hub asks to wait, by its `ratelimit` or `Retry-After`; 0 if it does not ask."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]  # not in an __all__

    if not isinstance(error, HfHubHTTPError):
        return 0.0
    limit = parse_ratelimit_headers(error.response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    return _retry_after(error.response.headers.get("Retry-After", "").strip())


def _retry_after(value: str) -> float:
    """Return the seconds of a `Retry-After` header, which holds seconds or a date; 0 if it is neither."""
    if value.isdecimal():
        return float(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _described(error: Exception) -> str:
    if isinstance(error, JSONDecodeError):
        return "The hub returned an invalid response (not JSON)."
    status = _status(error)
    if status is None:
        return f"The connection to the hub failed ({reason_of(error)})."
    message = getattr(error, "server_message", None)
    return f"The hub answered {status}{f': {reason_of(UnwriteError(message))}' if message else ''}."


def _remedy(error: Exception, repository: str) -> str:
    status = _status(error)
    if status is None:
        return "Check the network."
    if status >= 500:
        return "The hub is out of order: try again later."
    return _REMEDIES.get(status, _OTHER_REMEDY).format(repository=repository)
