"""Winsorizing: clamp each residual's largest coordinates, so that massive activations do not dominate the mean."""

import torch
from torch import Tensor

_SLICE_NUMBERS = 1 << 22  # torch.quantile holds copies, and many versions refuse more than 2²⁴ numbers


def winsorize(x: Tensor, quantile: float) -> Tensor:
    """Clamp every vector to a quantile of its own absolute values: x ← clamp(x, −t, t), t = quantile(|x|, q).

    Massive activations (Sun et al. 2024) are a few coordinates hundreds of times larger than the rest, in some prompts
    and not in others. Lai 2025 clamps them at q = 0.995 before averaging; 0.95 is another common setting. The quantile
    is interpolated linearly between order statistics.

    Args:
        x: vectors, [..., d], any floating dtype.
        quantile: q in (0, 1]; 1 is off.

    Returns:
        The clamped vectors, [..., d], float32 or wider.

    Raises:
        ValueError: q is outside (0, 1].
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be in (0, 1], where 1 clamps nothing, got {quantile}")
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if quantile == 1 or x.numel() == 0:
        return wide
    vectors = wide.reshape(-1, x.shape[-1])
    clamped = torch.empty_like(vectors)
    step = max(1, _SLICE_NUMBERS // x.shape[-1])
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step]
        limit = torch.quantile(part.abs(), quantile, dim=-1, keepdim=True)
        torch.clamp(part, -limit, limit, out=clamped[start : start + step])
    return clamped.reshape(x.shape)
