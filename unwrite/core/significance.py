"""Whether two models differ: the exact test of paired verdicts, and its correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache


def mcnemar_p(only_one: int, only_other: int) -> float:
    """Compute the two-sided p-value of McNemar's exact test (McNemar 1947) for paired yes-or-no outcomes.

    Only pairs whose outcomes differ tell the two apart. If the two were alike, either outcome would be as likely among
    these: the number of one kind is binomial with probability ½.

    Args:
        only_one: number of pairs with the property in the first alone.
        only_other: number of pairs with the property in the second alone.

    Returns:
        The p-value; 1 if no pair differs.

    Raises:
        ValueError: a number is negative.
    """
    if min(only_one, only_other) < 0:
        raise ValueError(f"numbers of pairs must be at least 0, got {only_one} and {only_other}")
    from scipy.stats import binomtest  # heavy, and only the last stages need it

    different = only_one + only_other
    return float(binomtest(only_one, different).pvalue) if different else 1.0


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for the number of tests (Holm 1979).

    Rejecting those that are at most α rejects a true null hypothesis with a probability of at most α, in all tests
    together, whatever their dependence.

    Args:
        p_values: of all tests, each in [0, 1]; may be empty.

    Returns:
        The adjusted p-values, in the same order.
    """
    return list(_holm(tuple(p_values)))


@lru_cache(maxsize=64)
def _holm(p_values: tuple[float, ...]) -> tuple[float, ...]:
    # Cached: statsmodels collects all garbage at each call, which takes half a second in a large process.
    if not p_values:
        return ()
    from statsmodels.stats.multitest import multipletests  # heavy, and only the last stages need it

    return tuple(float(p) for p in multipletests(list(p_values), method="holm")[1])
