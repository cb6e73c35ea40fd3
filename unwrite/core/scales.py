"""The scales of `rows` and `columns` from products with the direction, for many directions on one weight.

The products are linear (their energy quadratic) in the direction. Computed once for the stored directions, they give
the scales of any direction between them in O(d), without another pass over the weight.
"""

import torch
from torch import Tensor

from unwrite.core.edit import VANISHED


def row_scales(direction: Tensor, strength: float | Tensor, alignment: Tensor, energy: Tensor) -> Tensor:
    """The scale r of `rows` from products with the direction.

    With u = Ŵᵀv: r = (1 − 2λ v∘p + λ² v∘v g)^(−1/2), p = Ŵu, g = ‖u‖². Equal to `edit.factors(...).r` except for rows
    that are zero in the weight, where any scale does. In float64 it loses about 1e-16 / (norm left)² by cancellation,
    which `edit.factors` does not.

    Args:
        direction: v, [..., d], unit norm.
        strength: λ, a number or broadcasting against the direction ([..., 1]).
        alignment: p, [..., d].
        energy: g, broadcasting against the direction ([] or [..., 1]).

    Returns:
        r, [..., d]; 0 where the row vanishes.
    """
    step = strength * direction
    return _inverse_root(1 - 2 * step * alignment + step * step * energy)


def column_scales(strength: float | Tensor, cosine: Tensor) -> Tensor:
    """The scale c of `columns` from the cosines of the weight's columns with the direction.

    c = (1 − (2λ − λ²) q²)^(−1/2). Equal to `edit.factors(...).c`, with the reservation of `row_scales`.

    Args:
        strength: λ, a number or broadcasting against the cosines ([..., 1]).
        cosine: q = Ŵᵀv with the columns of Ŵ of unit norm (0 for a zero column), [..., k].

    Returns:
        c, [..., k]; 0 where the column vanishes.
    """
    return _inverse_root(1 - (2 * strength - strength * strength) * cosine * cosine)


def _inverse_root(remaining: Tensor) -> Tensor:
    """Take x to x^(−1/2), for squared remaining norms; 0 for what has vanished."""
    return torch.where(remaining > VANISHED**2, remaining.clamp(min=VANISHED**2).rsqrt(), 0.0)
