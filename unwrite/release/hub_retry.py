"""Call the hub again while an error may pass, after the pause that it asks for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from unwrite.release.hub_errors import describe, hub_error_types, status_of

T = TypeVar("T")

_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between attempts
_LONGEST_PAUSE = 300.0  # seconds: the window over which the hub counts requests
_MAY_PASS = {408, 429, 500, 502, 503, 504}

logger = logging.getLogger(__name__)


def retry(call: Callable[[], T]) -> T:
    """Call until it succeeds, as long as the error may pass; return the result."""
    for pause in _PAUSES:
        try:
            return call()
        except hub_error_types() as error:
            seconds = max(pause, _requested_pause(error))
            if not _may_pass(error) or seconds > _LONGEST_PAUSE:
                raise
            logger.warning("%s Trying again in %.0f s.", describe(error), seconds)
        time.sleep(seconds)
    return call()


def _may_pass(error: Exception) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = status_of(error)
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
