"""Compute directions from the residuals of two prompt sets: one per position and residual index, with their means."""

from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.directions import center, difference_direction, orthogonalize
from unwrite.core.winsorize import winsorize
from unwrite.terms import CenterMethod, Orthogonalize


class DirectionSet(NamedTuple):
    """Directions and the means they come from.

    directions: unit vectors or zero, [P, L+1, d], float32.
    target_mean: center of the target residuals, [P, L+1, d], float32.
    baseline_mean: center of the baseline residuals, [P, L+1, d], float32.
    """

    directions: Tensor
    target_mean: Tensor
    baseline_mean: Tensor


def compute_directions(
    target: Tensor,
    baseline: Tensor,
    *,
    quantile: float = 1.0,
    center_method: CenterMethod = "mean",
    orthogonalization: Orthogonalize = "none",
) -> DirectionSet:
    """Compute the difference-of-means directions of a behaviour (Arditi et al. 2024; Lai 2025).

    Args:
        target: residuals of prompts that show the behaviour, [n, P, L+1, d].
        baseline: residuals of prompts that do not, [m, P, L+1, d].
        quantile: each vector is clamped at this quantile of its absolute components; 1 is off.
        center_method: `mean` or `geometric_median`.
        orthogonalization: `none`, or against the baseline mean (`projected`, `biprojected`). What `biprojected` adds
            happens where a direction is applied to another layer than its own.

    Raises:
        ValueError: a residual is not finite, the sets have no direction between them, or an argument is out of range.
    """
    target, baseline = winsorize_prompts(target, quantile), winsorize_prompts(baseline, quantile)
    target_mean, baseline_mean = center(target, center_method), center(baseline, center_method)
    directions = difference_direction(target_mean, baseline_mean)
    if orthogonalization != "none":
        directions = orthogonalize(directions, baseline_mean)
    return DirectionSet(directions.float(), target_mean.float(), baseline_mean.float())


def winsorize_prompts(residuals: Tensor, quantile: float) -> Tensor:
    """Winsorize residuals [n, ...] one prompt at a time, so that the float32 copies stay small; float32 or wider."""
    return torch.stack([winsorize(prompt.float(), quantile) for prompt in residuals])
