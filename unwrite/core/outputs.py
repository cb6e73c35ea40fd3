"""The same edit on the output of a writer while the model runs, and on its bias."""

import torch
from torch import Tensor

from unwrite.core.edit import Factors, checked_direction
from unwrite.core.reproducible import stable_sum


def edit_output(output: Tensor, factors: Factors) -> Tensor:
    """Edit the output of a writer instead of its weight: y ← r ⊙ (y − a (bᵀy)).

    Equal to the edited weight if the writer's *input* was first scaled by `factors.c` (`columns`; 1 in the other modes)
    and `output` does not include its bias (subtract the bias before, add its `edit_bias` after).

    Args:
        output: W (c ∘ x), [..., d].
        factors: the result of `factors`. r, a and b may have leading axes that broadcast against `output`, such as
            [batch, 1, d], so that rows of one batch are edited differently.

    Returns:
        The edited output, [..., d], in its own dtype; the arithmetic is float32 or wider.
    """
    y = output.to(torch.promote_types(output.dtype, torch.float32))
    r, a, b = factors.r.to(y), factors.a.to(y), factors.b.to(y)
    return (r * torch.addcmul(y, a, (b * y).sum(-1, keepdim=True), value=-1)).to(output.dtype)


def edit_bias(bias: Tensor, direction: Tensor, strength: float) -> Tensor:
    """Edit a writer's bias: b ← b − λ v (vᵀb), whatever the mode of the weight.

    Args:
        bias: b, [d], any floating dtype.
        direction: v, [d], unit norm or zero.
        strength: λ.

    Returns:
        The edited bias, [d], float64; bit for bit the bias itself for λ = 0 or a zero direction.

    Raises:
        ValueError: the direction is not a unit vector or differs from the bias in shape, or λ is not finite.
    """
    v = checked_direction(direction.to(bias.device), strength)
    if v.shape != bias.shape:
        raise ValueError(f"a bias must have the shape of its direction, [{len(v)}], got {list(bias.shape)}")
    b = bias.to(torch.float64)
    if strength == 0 or not bool(v.any()):
        return b
    return b - strength * v * stable_sum(v * b, 0)
