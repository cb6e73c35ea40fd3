"""Products of a weight with a few vectors, computed once: they give the closed form of every edit along a mix of them.

The products of W with v are linear in v, their energy is quadratic. With the products for x₁ … x_n, the edit along any
unit vector v = Σ cⱼ xⱼ costs O(n (d + k)), without another pass over W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.edit import VANISHED, Factors
from unwrite.core.reproducible import aligned_groups
from unwrite.terms import NormPreservation


class Products(NamedTuple):
    """Products of one weight W [d, k] with n vectors xⱼ; float64. Ŵ is D⁻¹W for `pre` and `rows`, otherwise W."""

    row_norms: Tensor
    """D, [d]; ones for `none` and `columns`."""
    column_norms: Tensor
    """C, [k], for `columns`; ones for the other modes."""
    reads: Tensor
    """xⱼᵀŴ, [n, k]."""
    alignments: Tensor
    """Ŵ Ŵᵀxⱼ, [n, d], for `rows`; empty, [n, 0], for the other modes."""


def products(
    blocks: Callable[[], Iterable[tuple[slice, Tensor]]], vectors: Tensor, norm_preservation: NormPreservation
) -> Products:
    """Multiply a weight with a few vectors, reading it once, or twice for `rows`.

    Args:
        blocks: returns the weight from its first row on each call, as consecutive (rows, block [rows, k]).
        vectors: xⱼ, [n, d], of any length; the products are computed on their device.
        norm_preservation: the mode of the edits that the products are for.

    Returns:
        The products, float64, on the device of the vectors, one row per vector and in their order.

    Raises:
        ValueError: the vectors do not fit the weight, or a number is not finite.
    """
    x = vectors.to(torch.float64)
    by_rows = norm_preservation in {"pre", "rows"}
    d = x.shape[1]
    row_norms, squares, reads = torch.ones_like(x[0]), x.new_zeros(()), x.new_zeros(())
    for rows, group in aligned_groups(blocks(), d):
        unit = group.to(x.device)
        if norm_preservation == "columns":
            squares = squares + unit.square().sum(0)
        if by_rows:
            row_norms[rows], unit = _unit_rows(unit)
        reads = reads + x[:, rows] @ unit
    if not (bool(row_norms.isfinite().all()) and bool(reads.isfinite().all())):
        raise ValueError("the weight holds NaN or infinite values, so it cannot be edited")
    alignments = x.new_empty(len(x), d if norm_preservation == "rows" else 0)
    if norm_preservation == "rows":
        for rows, group in aligned_groups(blocks(), d):
            alignments[:, rows] = reads @ _unit_rows(group.to(x.device))[1].T
    column_norms = squares.sqrt() if norm_preservation == "columns" else torch.ones_like(reads[0])
    return Products(row_norms, column_norms, reads, alignments)


def with_more(known: Products, more: Products) -> Products:
    """Return the products of one weight with the vectors of both arguments, in this order."""
    return known._replace(
        reads=torch.cat([known.reads, more.reads]), alignments=torch.cat([known.alignments, more.alignments])
    )


def combined_factors(
    weight_products: Products,
    coefficients: Tensor,
    directions: Tensor,
    strengths: Tensor,
    norm_preservation: NormPreservation,
) -> Factors:
    """Compute the closed form of K edits of one weight, each equal to that of `edit.factors` up to rounding.

    Rounding matters for a row or column of which hardly anything is left (`row_scales`, `column_scales`).

    Args:
        weight_products: the weight's products with n vectors.
        coefficients: cⱼ, [K, n], float64, with vᵢ = Σ cᵢⱼ xⱼ.
        directions: vᵢ, [K, d], float64, unit norm, or zero for no edit.
        strengths: λᵢ, [K], float64.
        norm_preservation: the mode that the products were computed for.

    Returns:
        The factors, float64, each with a leading axis K.
    """
    edits = (strengths != 0) & directions.any(-1)
    v = torch.where(edits[:, None], directions, 0.0)
    lam = strengths[:, None]
    weights = torch.where(edits[:, None], coefficients, 0.0)
    D = weight_products.row_norms
    a, b = lam * D * v, torch.where(D > 0, v / D, 0.0)
    s = weights @ weight_products.reads
    r, c = torch.ones_like(v), torch.ones_like(s)
    if norm_preservation == "rows":
        r = row_scales(v, lam, weights @ weight_products.alignments, s.square().sum(-1, keepdim=True))
        r = torch.where(D > 0, r, 1.0)
    elif norm_preservation == "columns":
        c = column_scales(lam, torch.where(weight_products.column_norms > 0, s / weight_products.column_norms, 0.0))
    return Factors(r, a, b, c, s)


def row_scales(direction: Tensor, strength: float | Tensor, alignment: Tensor, energy: Tensor) -> Tensor:
    """Compute the scale r of `rows` from products with the direction.

    With u = Ŵᵀv: r = (1 − 2λ v∘p + λ² v∘v g)^(−1/2), p = Ŵu, g = ‖u‖². Equal to `edit.factors(...).r` except for rows
    that are zero in the weight, where the scale does not matter. Cancellation costs it a relative precision of about
    1e-16 / (remaining norm)² in float64, which `edit.factors` does not lose.

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
    """Compute the scale c of `columns` from the cosines of the weight's columns with the direction.

    c = (1 − (2λ − λ²) q²)^(−1/2). Equal to `edit.factors(...).c`, with the same caveat as `row_scales`.

    Args:
        strength: λ, a number or broadcasting against the cosines ([..., 1]).
        cosine: q = Ŵᵀv, where the columns of Ŵ have unit norm (0 for a zero column), [..., k].

    Returns:
        c, [..., k]; 0 where the column vanishes.
    """
    return _inverse_root(1 - (2 * strength - strength * strength) * cosine * cosine)


def _unit_rows(group: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms of some rows, and the rows divided by their norms; zero rows stay zero."""
    norms = torch.linalg.vector_norm(group, dim=1)
    return norms, group / torch.where(norms > 0, norms, 1.0)[:, None]


def _inverse_root(remaining: Tensor) -> Tensor:
    """Compute x^(−1/2) of squared remaining norms; 0 for a norm that has vanished."""
    return torch.where(remaining > VANISHED**2, remaining.clamp(min=VANISHED**2).rsqrt(), 0.0)
