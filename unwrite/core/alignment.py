"""Two sets of directions side by side: the angle between them, and how far apart the means were that each came from."""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from unwrite.core.directions import NEGLIGIBLE


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle between two vectors, a·b / (‖a‖ ‖b‖).

    Args:
        a: [..., d], any length.
        b: the same shape.

    Returns:
        [...], float64, in [−1, 1]; NaN where either is zero and there is no angle.
    """
    x, y = a.to(torch.float64), b.to(torch.float64)
    cosine: Tensor = (x * y).sum(-1) / (vector_norm(x, dim=-1) * vector_norm(y, dim=-1))
    return cosine.clamp(-1, 1)


def difference_norms(target_mean: Tensor, baseline_mean: Tensor) -> Tensor:
    """The norm of the difference of means, ‖μ_target − μ_baseline‖.

    Args:
        target_mean: [..., d].
        baseline_mean: the same shape.

    Returns:
        [...], float64; zero where it is at most 1e-6 ‖μ_baseline‖, where there is no direction either
        (`difference_direction`) and what is left is rounding.
    """
    baseline = baseline_mean.to(torch.float64)
    norm = vector_norm(target_mean.to(torch.float64) - baseline, dim=-1)
    return torch.where(norm > NEGLIGIBLE * vector_norm(baseline, dim=-1), norm, 0.0)
