"""What a causal check does to the stream: how far to push along a direction, and random directions to compare with."""

import torch
from torch import Tensor


def push_length(direction: Tensor, target_center: Tensor, baseline_center: Tensor) -> float:
    """Compute how far to push a baseline residual to where target residuals lie along v: α = v·(μ_target − μ_baseline).

    Args:
        direction: v, [d], unit norm.
        target_center: μ_target, [d].
        baseline_center: μ_baseline, [d].

    Returns:
        α, in the units of the stream.
    """
    v, target, baseline = (x.to(torch.float64) for x in (direction, target_center, baseline_center))
    return float(v @ (target - baseline))


def random_unit_vector(width: int, seed: int) -> Tensor:
    """Draw a unit vector from all directions alike, [width], float64; the same for the same seed."""
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit: Tensor = vector / vector.norm()
    return unit


def projected_out(stream: Tensor, direction: Tensor) -> Tensor:
    """Project a unit vector out of residuals: x − v (v·x) (Arditi et al. 2024, section 2.4).

    Args:
        stream: x, [..., d].
        direction: v, [d], unit norm.

    Returns:
        Residuals of the same shape and dtype as x.
    """
    v = direction.to(stream)
    along: Tensor = stream @ v
    rest: Tensor = stream - along.unsqueeze(-1) * v
    return rest
