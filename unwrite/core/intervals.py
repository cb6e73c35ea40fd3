"""The confidence interval of a rate."""


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
