"""Thinning: fewer of many, evenly spaced."""


def thinned(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers 0 … count − 1, evenly spaced and in order.

    Example:
        >>> thinned(10, 4)
        [0, 2, 5, 7]
    """
    kept = min(count, most)
    return [number * count // kept for number in range(kept)]
