"""The interval that every rate comes with."""


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927), which stays within [0, 1] and has a width at 0 and n of n too.

    Args:
        successes: how many of the n, 0 to n.
        n: how many were looked at, 1 or more.
        confidence: the coverage, in (0, 1).

    Returns:
        (low, high), shares between 0 and 1.

    Raises:
        ValueError: n is 0, or a number is out of its range.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n, and n at least 1, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95, got {confidence}")
    from scipy.stats import binomtest  # heavy, and only the last stages need it

    interval = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)
