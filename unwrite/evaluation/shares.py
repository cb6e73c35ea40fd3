"""A share of responses with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from unwrite.core.intervals import wilson_interval
from unwrite.errors import as_user_error
from unwrite.schema.evaluation import Share


def share_of(hits: Sequence[bool], confidence: float) -> Share:
    """Return the share of responses that have a property, with its Wilson interval.

    Args:
        hits: whether each of them has it, at least one.
        confidence: confidence of the interval, in (0, 1).

    Raises:
        UnwriteError: there are none.
    """
    with as_user_error("artifacts/verdicts/", "Run `dvc repro -f generate_responses`."):
        low, high = wilson_interval(sum(hits), len(hits), confidence)
    return Share(value=sum(hits) / len(hits), low=low, high=high, n=len(hits))
