"""The geometric median: a center that a minority of outliers cannot shift far."""

import torch
from torch import Tensor

_STEPS = 1000
_TOLERANCE = 1e-12


def geometric_median(points: Tensor) -> Tensor:
    """Compute the point with the least sum of distances to the given ones.

    Weiszfeld's iteration from the mean, with the correction of Vardi & Zhang 2000 (*The multivariate L1-median and
    associated data depth*) for an iterate on a data point, until a step is below 1e-12 of the mean distance or for 1000
    steps. Near a data point the iteration crawls, so that point's own optimality is tested there: the pull of the
    others must be no more than its weight.

    It is unique unless all points lie on one line; then any point between the two in the middle may be returned.

    Args:
        points: the points, [n, d], float64, finite, n ≥ 1.

    Returns:
        The median, [d], float64.
    """
    median = points.mean(0)
    for _ in range(_STEPS):
        distance = torch.linalg.vector_norm(points - median, dim=-1)
        spread = float(distance.mean())
        nearest = points[distance.argmin()]
        if float(distance.min()) <= 1e-2 * spread:
            pull, _, count = _pull(points, nearest)
            if float(pull.norm()) <= count:
                return nearest
        pull, weight, count = _pull(points, median)
        strength = float(pull.norm())
        if strength == 0:
            return median
        step = (1 - count / strength) * pull / weight  # on a data point, shorter than Weiszfeld's step
        median = median + step
        if float(step.norm()) <= _TOLERANCE * spread:
            break
    return median


def _pull(points: Tensor, at: Tensor) -> tuple[Tensor, float, int]:
    """Return Σ unit vectors to the points away from `at`, Σ of their inverse distances, and how many are at it."""
    offset = points - at
    distance = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
    away = distance > 0
    inverse = torch.where(away, 1 / torch.where(away, distance, 1.0), 0.0)
    return (offset * inverse).sum(0), float(inverse.sum()), int((~away).sum())
