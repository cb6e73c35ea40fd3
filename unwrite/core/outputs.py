"""The same edit on what a writer puts out: on its output while the model runs, and on its bias."""

import torch
from torch import Tensor

from unwrite.core.edit import Factors, checked_direction
from unwrite.core.reproducible import stable_sum


def edit_output(output: Tensor, factors: Factors) -> Tensor:
    """Edit what a writer put out instead of its weight: y ← r ⊙ (y − a (bᵀy)).

    Equal to the edited weight if the writer's *input* was scaled by `factors.c` first (`columns`; 1 in the other modes)
    and its bias isn't in `output` (take it off before, add `edit_bias` of it after).

    Args:
        output: W (c ∘ x), [..., d].
        factors: from `factors`. r, a and b may have leading axes that broadcast against `output` (say [batch, 1, d]),
            so that rows of one batch get different edits.

    Returns:
        [..., d] in the dtype of `output`; the arithmetic is float32 or wider.
    """
    y = output.to(torch.promote_types(output.dtype, torch.float32))
    r, a, b = factors.r.to(y), factors.a.to(y), factors.b.to(y)
    return (r * torch.addcmul(y, a, (b * y).sum(-1, keepdim=True), value=-1)).to(output.dtype)


def edit_bias(bias: Tensor, direction: Tensor, strength: float) -> Tensor:
    """Edit a writer's bias: b ← b − λ v (vᵀb), whatever the mode of the weight.

    Args:
        bias: [d], any floating dtype.
        direction: [d], unit norm or zero.
        strength: λ.

    Returns:
        [d], float64; bit for bit the bias itself for λ = 0 or a zero direction.

    Raises:
        ValueError: the direction isn't a unit vector or has another length; λ isn't finite.
    """
    v = checked_direction(direction.to(bias.device), strength)
    if v.shape != bias.shape:
        raise ValueError(f"a bias must have the shape of its direction, [{len(v)}], got {list(bias.shape)}")
    b = bias.to(torch.float64)
    if strength == 0 or not bool(v.any()):
        return b
    return b - strength * v * stable_sum(v * b, 0)
