"""The difference of two means over the same items, with a standard error that knows that they are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import sem


class PairedDifference(NamedTuple):
    """A mean difference, and its standard error; None for a single pair."""

    mean: float
    error: float | None


def paired_difference(before: Sequence[float], after: Sequence[float]) -> PairedDifference:
    """Return the mean of after − before over paired values, with its standard error s / √n.

    s is the standard deviation of the n differences, with n − 1 degrees of freedom. What makes an item easy for both
    models cancels, so the error is smaller than that of two independent means (Miller 2024, *Adding Error Bars to
    Evals*, §3.1).

    Args:
        before: a value for each item, at least one item.
        after: the values of the same items, in the same order.

    Raises:
        ValueError: the lengths differ, or there are no values.

    Example:
        >>> paired_difference([1, 0, 1, 1], [1, 0, 0, 0])
        PairedDifference(mean=-0.5, error=0.288...)
    """
    if not before or len(before) != len(after):
        raise ValueError(f"before and after must have as many values, at least one, got {len(before)} and {len(after)}")
    differences = [float(new) - float(old) for old, new in zip(before, after, strict=True)]
    error = float(sem(differences)) if len(differences) > 1 else None
    return PairedDifference(sum(differences) / len(differences), error)
