"""The geometric median: the center that a minority of outlying points cannot carry away."""

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

    It is unique unless all points lie on one line; then any point between the two in the middle may come.

    Args:
        points: [n, d], float64, finite, n ≥ 1.

    Returns:
        [d], float64.
    """
    median = points.mean(0)
    for _ in range(_STEPS):
        distance = torch.linalg.vector_norm(points - median, dim=-1)
        spread = float(distance.mean())
        nearest = points[distance.argmin()]
        if float(distance.min()) <= 1e-2 * spread:
            pull, _, here = _pull(points, nearest)
            if float(pull.norm()) <= here:
                return nearest
        pull, weight, here = _pull(points, median)
        strength = float(pull.norm())
        if strength == 0:
            return median
        step = (1 - here / strength) * pull / weight  # on a data point, a shorter one than Weiszfeld's
        median = median + step
        if float(step.norm()) <= _TOLERANCE * spread:
            break
    return median


def _pull(points: Tensor, at: Tensor) -> tuple[Tensor, float, int]:
    """Σ unit vectors to the points that aren't `at`, Σ of their inverse distances, and how many are there."""
    offset = points - at
    distance = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
    away = distance > 0
    inverse = torch.where(away, 1 / torch.where(away, distance, 1.0), 0.0)
    return (offset * inverse).sum(0), float(inverse.sum()), int((~away).sum())
