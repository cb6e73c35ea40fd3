"""The change that an edit makes to a weight as two thin factors, ΔW ≈ P Q, and their approximation error.

For `none` and `pre` the change is the outer product −a s itself (`edit.Factors`): rank 1, exact. `rows` and `columns`
rescale every row or column, which is not low-rank: the factors are then the best of their rank, from a singular value
decomposition (Eckart & Young 1936). A small matrix is decomposed in full; of a large one only the leading part is
computed, by subspace iteration from a fixed random start (Halko, Martinsson & Tropp 2011, algorithm 4.4). The error is
never estimated: it is measured on the returned factors, rounded to float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.edit import edit_rows, factors
from unwrite.terms import NormPreservation

SMALL = 256
"""The shorter side up to which a matrix is decomposed in full."""

# With random weights, the hardest case, the error is within 0.2 % of the smallest possible one.
_OVERSAMPLING = 16
_ITERATIONS = 2


class LowRank(NamedTuple):
    """The change of one matrix as P Q, balanced so that both factors have the same norm."""

    left: Tensor
    """P, [d, rank], float32."""
    right: Tensor
    """Q, [rank, k], float32."""
    change: float
    """Frobenius norm of ΔW."""
    approximation_error: float
    """Frobenius norm of ΔW − P Q."""


def change_rank(shape: tuple[int, int], norm_preservation: NormPreservation, rank: int) -> int:
    """Return the rank of the factors of a matrix [d, k], at most `rank`: 1 if that is exact."""
    return 1 if norm_preservation in {"none", "pre"} else min(rank, *shape)


def low_rank_change(
    blocks: Callable[[], Iterable[tuple[slice, Tensor]]],
    direction: Tensor,
    strength: float,
    norm_preservation: NormPreservation,
    rank: int,
) -> LowRank:
    """Factorize the change that an edit makes to a weight, W' − W, without rounding W' to the weight's dtype.

    Memory: W' − W in float64 (`rows`, `columns`), or one block of it (`none`, `pre`).

    Args:
        blocks: returns the weight from its first row on each call, as consecutive (rows, block [rows, k]).
        direction: v, [d], unit norm, or zero: the factors are then zero.
        strength: λ.
        norm_preservation: the mode of the edit.
        rank: the largest rank; `change_rank` returns the actual one.

    Returns:
        The factors and their approximation error. The same weight gives the same factors, signs included.

    Raises:
        ValueError: as in `edit.factors`.
    """
    closed_form = factors(blocks, direction, strength, norm_preservation)

    def changes() -> Iterator[tuple[slice, Tensor]]:
        for rows, block in blocks():
            yield rows, edit_rows(block, rows, closed_form) - block.to(torch.float64)

    if norm_preservation in {"none", "pre"}:
        left, right = _balanced(-closed_form.a[:, None], closed_form.s[None, :])
        return _measured(changes(), left, right)
    shape = len(closed_form.r), len(closed_form.c)
    change = closed_form.r.new_empty(shape)
    for rows, block in changes():
        change[rows] = block
    left, right = truncated(change, change_rank(shape, norm_preservation, rank))
    return _measured(((rows, change[rows]) for rows, _ in blocks()), left, right)


def relative_error(parts: Iterable[LowRank]) -> float:
    """Compute ‖ΔW − P Q‖ / ‖ΔW‖ over the matrices of one parameter; 0 if nothing changes."""
    parts = list(parts)
    change = math.hypot(*(part.change for part in parts))
    return math.hypot(*(part.approximation_error for part in parts)) / change if change else 0.0


def truncated(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Compute the best rank-`rank` approximation of a matrix, or nearly the best for a large matrix.

    Each singular vector's largest component is positive on the left side, and the singular value is split evenly.

    Args:
        matrix: the matrix, [d, k], float64.
        rank: at most min(d, k).

    Returns:
        P [d, rank] and Q [rank, k], float64.
    """
    sketch = rank + _OVERSAMPLING
    if min(matrix.shape) <= max(SMALL, 2 * sketch):
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    else:
        U, S, Vh = _leading(matrix, sketch)
    U, S, Vh = U[:, :rank], S[:rank], Vh[:rank]
    largest = U.gather(0, U.abs().argmax(0, keepdim=True))
    root = torch.where(largest[0] < 0, -1.0, 1.0) * S.sqrt()  # both sides change sign, so the product does not
    return U * root, root[:, None] * Vh


def _leading(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the leading part of a singular value decomposition: U [d, count], S [count], Vᵀ [count, k]."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], count, generator=generator, dtype=torch.float64).to(matrix.device)
    Q = torch.linalg.qr(matrix @ start).Q
    for _ in range(_ITERATIONS):
        Q = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ Q).Q).Q
    U, S, Vh = torch.linalg.svd(Q.T @ matrix, full_matrices=False)
    return Q @ U, S, Vh


def _balanced(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return two factors of the same norm with the same product."""
    sizes = left.norm(), right.norm()
    if not all(float(size) > 0 for size in sizes):
        return torch.zeros_like(left), torch.zeros_like(right)
    scale = (sizes[1] / sizes[0]).sqrt()
    return left * scale, right / scale


def _measured(changes: Iterable[tuple[slice, Tensor]], left: Tensor, right: Tensor) -> LowRank:
    """Round the factors to float32, and measure their error on a change given in row blocks."""
    left, right = left.to(torch.float32), right.to(torch.float32)
    change = approximation_error = 0.0
    for rows, block in changes:
        change += float(block.square().sum())
        approximation_error += float((block - left[rows].to(torch.float64) @ right.to(torch.float64)).square().sum())
    return LowRank(left, right, math.sqrt(change), math.sqrt(approximation_error))
