"""Everything the geometry table says about one position and residual index, except what needs other libraries."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import vector_norm

from unwrite.core.geometry import auc, cosines, separation
from unwrite.core.median import geometric_median
from unwrite.core.winsorize import winsorize


class PromptSets(NamedTuple):
    """Residuals of both prompt sets at one position and residual index, target [n, d] and baseline [m, d]."""

    target: Tensor
    baseline: Tensor


def winsorized(sets: PromptSets, quantile: float) -> PromptSets:
    """Winsorize every residual at a quantile of its components, in float32 or wider, and return them in float64."""
    return PromptSets(*(winsorize(x, quantile).to(torch.float64) for x in sets))


def separation_figures(sets: PromptSets, direction: Tensor) -> dict[str, float]:
    """Describe how well a direction separates the residuals of two prompt sets.

    Args:
        sets: the residuals, float64.
        direction: v, [d], float64, unit norm or zero.

    Returns:
        `auc` and `separation` (Cohen's d) of the projections on v. Without a direction they are 0.5 and 0.
    """
    above, below = sets.target @ direction, sets.baseline @ direction
    return {"auc": float(auc(above, below)), "separation": float(separation(above, below))}


def center_figures(target: Tensor, baseline: Tensor, direction: Tensor) -> dict[str, float]:
    """Describe the centers of two prompt sets and how they lie to a direction.

    Args:
        target: center of the target residuals, [d], float64.
        baseline: center of the baseline residuals, [d].
        direction: v, [d], unit norm or zero.

    Returns:
        Norms of both centers and of their difference, and the three cosines; a cosine with a zero vector is NaN.
    """
    return {
        "target_norm": float(vector_norm(target)),
        "baseline_norm": float(vector_norm(baseline)),
        "difference_norm": float(vector_norm(target - baseline)),
        "cosine_target_baseline": float(cosines(target, baseline)),
        "cosine_target_direction": float(cosines(target, direction)),
        "cosine_baseline_direction": float(cosines(baseline, direction)),
    }


def both_centers(sets: PromptSets, direction: Tensor) -> dict[str, float]:
    """Return `center_figures` of arithmetic means and of geometric medians, as `mean_…` and `median_…`."""
    means = center_figures(sets.target.mean(0), sets.baseline.mean(0), direction)
    medians = center_figures(geometric_median(sets.target), geometric_median(sets.baseline), direction)
    return {f"mean_{name}": value for name, value in means.items()} | {
        f"median_{name}": value for name, value in medians.items()
    }


def winsorizing_figures(before: PromptSets, after: PromptSets) -> dict[str, float]:
    """Describe what winsorizing did; massive activations show here (Sun et al. 2024).

    Args:
        before: the residuals as they are.
        after: the same, winsorized.

    Returns:
        `winsorized_share`, the share of components that were clamped, and the largest absolute component before
        (`largest_component`) and after (`largest_winsorized`).
    """
    old, new = torch.cat(before).to(torch.float64), torch.cat(after)
    return {
        "winsorized_share": float((old != new).to(torch.float64).mean()),
        "largest_component": float(old.abs().max()),
        "largest_winsorized": float(new.abs().max()),
    }
