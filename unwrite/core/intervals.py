"""The confidence intervals of a rate and of a mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

_RESAMPLES = 9999
_BATCH = 1000  # resamples in memory at once
_SEED = 0


@lru_cache(maxsize=256)  # a report, a card and their checks ask for the same few again and again
def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute Wilson's score interval of a rate (Wilson 1927): within [0, 1], with width even at 0 or n successes.

    Args:
        successes: the number of successes, 0 to n.
        n: the number of trials, 1 or more.
        confidence: the coverage, in (0, 1).

    Returns:
        (low, high), rates between 0 and 1.

    Raises:
        ValueError: n is 0, or a number is out of range.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n, and n at least 1, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95, got {confidence}")
    from scipy.stats import binomtest  # heavy, and only the last stages need it

    interval = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Compute the bootstrap interval of a mean: bias-corrected and accelerated (Efron 1987), with a fixed seed.

    KL divergences are skewed: a few prompts have most of it, and an interval around the mean would be too low.

    Args:
        values: the sample.
        confidence: the coverage, in (0, 1).

    Returns:
        (low, high); both the value itself if all are equal, and None for fewer than two values: how much they vary is
        unknown.

    Raises:
        ValueError: the confidence is out of range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95, got {confidence}")
    if len(values) < 2:
        return None
    lowest, spread = min(values), max(values) - min(values)
    if spread == 0:
        return lowest, lowest
    import numpy as np  # heavy, and only the last stages need them
    from scipy.stats import bootstrap

    interval = bootstrap(
        ([(value - lowest) / spread for value in values],),  # the formula cubes differences, which must not vanish
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        confidence_level=confidence,
        method="BCa",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return lowest + spread * float(interval.low), lowest + spread * float(interval.high)
