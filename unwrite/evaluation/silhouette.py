"""The silhouette coefficient of two prompt sets: whether they are two clusters."""

from __future__ import annotations

import torch
from torch import Tensor

from unwrite.core.thinning import thinned


def silhouette(target: Tensor, baseline: Tensor, most: int) -> float:
    """Compute the mean silhouette coefficient of two sets of residuals (Rousseeuw 1987), in Euclidean distance.

    A residual with mean distance a to the others of its set and b to the other set has (b − a) / max(a, b): near 1 it
    is deep in its set, near 0 between both, below 0 in the other.

    Args:
        target: residuals, [n, d], finite.
        baseline: residuals, [m, d].
        most: how many of each set to use, evenly spaced: the work grows with their square.

    Returns:
        The coefficient, in [−1, 1]; NaN if both sets have a single residual.
    """
    from sklearn.metrics import silhouette_score  # heavy

    sets = [x[thinned(len(x), most)] for x in (target, baseline)]
    labels = [number for number, x in enumerate(sets) for _ in range(len(x))]
    if len(labels) < 3:
        return float("nan")
    points = torch.cat(sets)
    # Measured from one of them: distances are found from norms, and those of equal residuals must be zero.
    return float(silhouette_score((points - points[0]).numpy(), labels))
