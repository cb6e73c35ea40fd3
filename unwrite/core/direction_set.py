"""Directions from the residuals of two prompt sets: one per position and residual index, with the means."""

import torch
from torch import Tensor

from unwrite.core.directions import center, difference_direction, orthogonalize
from unwrite.core.winsorize import winsorize
from unwrite.terms import CenterMethod, Orthogonalize


def compute_directions(
    target: Tensor,
    baseline: Tensor,
    *,
    quantile: float = 1.0,
    center_method: CenterMethod = "mean",
    orthogonalization: Orthogonalize = "none",
) -> dict[str, Tensor]:
    """Compute the difference-of-means directions of a behaviour (Arditi et al. 2024; Lai 2025).

    Args:
        target: residuals of prompts that show the behaviour, [n, P, L+1, d].
        baseline: residuals of prompts that do not, [m, P, L+1, d].
        quantile: the quantile of its absolute components that each vector is clamped at; 1 is off.
        center_method: how the center of a set is computed, `mean` or `geometric_median`.
        orthogonalization: `none`, or against the baseline mean (`projected`, `biprojected`). The two differ only where
            an edit applies a direction to another layer than its own.

    Returns:
        The tensors of directions.safetensors, each [P, L+1, d], float32: `directions` (unit norm or zero),
        `target_mean` and `baseline_mean`.

    Raises:
        ValueError: a residual is not finite, the sets have no direction between them, or an argument is out of range.

    Example:
        >>> target, baseline = torch.randn(8, 1, 7, 16) + 1, torch.randn(8, 1, 7, 16)
        >>> tensors = compute_directions(target, baseline, quantile=0.995, orthogonalization="projected")
        >>> tensors["directions"].shape
        torch.Size([1, 7, 16])
    """
    target, baseline = winsorize_prompts(target, quantile), winsorize_prompts(baseline, quantile)
    target_mean, baseline_mean = center(target, center_method), center(baseline, center_method)
    directions = difference_direction(target_mean, baseline_mean)
    if orthogonalization != "none":
        directions = orthogonalize(directions, baseline_mean)
    tensors = {"directions": directions, "target_mean": target_mean, "baseline_mean": baseline_mean}
    return {name: tensor.float() for name, tensor in tensors.items()}


def winsorize_prompts(residuals: Tensor, quantile: float) -> Tensor:
    """Winsorize residuals [n, ...] one prompt at a time, so that copies stay small; the result is float32 or wider."""
    wide = torch.promote_types(residuals.dtype, torch.float32)
    if quantile == 1:
        return residuals.to(wide)
    return torch.stack([winsorize(prompt.to(wide), quantile) for prompt in residuals])
