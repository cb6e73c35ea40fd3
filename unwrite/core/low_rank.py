"""What an edit changes in a weight as two thin factors, ΔW ≈ P Q, and by how much they miss it.

For `none` and `pre` the change is the outer product −a s itself (`edit.Factors`): rank 1, exact. Norms kept in `rows`
or `columns` scale every row or column anew, which no low rank holds: the factors are then the best of their rank, from
a singular value decomposition (Eckart & Young 1936). A small matrix is decomposed whole, of a large one only the
leading part is found, by subspace iteration from a fixed random start (Halko, Martinsson & Tropp 2011, algorithm 4.4).
The error is never estimated: it is measured on the factors as they are given back, rounded to float32.
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
"""The shorter side up to which a matrix is decomposed whole."""

# With random weights, the hardest, the error is within two parts in a thousand of the least.
_OVERSAMPLING = 16
_ITERATIONS = 2


class LowRank(NamedTuple):
    """The change of one matrix as P Q, balanced so that both are of one size."""

    left: Tensor
    """P, [d, rank], float32."""
    right: Tensor
    """Q, [rank, k], float32."""
    change: float
    """‖ΔW‖, of Frobenius."""
    missed: float
    """‖ΔW − P Q‖, of Frobenius."""


def change_rank(shape: tuple[int, int], norm_preservation: NormPreservation, rank: int) -> int:
    """Return the rank that the factors of a matrix [d, k] get where `rank` is allowed: 1 if that is exact."""
    return 1 if norm_preservation in {"none", "pre"} else min(rank, *shape)


def low_rank_change(
    blocks: Callable[[], Iterable[tuple[slice, Tensor]]],
    direction: Tensor,
    strength: float,
    norm_preservation: NormPreservation,
    rank: int,
) -> LowRank:
    """Factorize what an edit changes in a weight, W' − W, without rounding W' to the weight's dtype.

    Holds W' − W once in float64 (`rows`, `columns`), or no more than a block of it (`none`, `pre`).

    Args:
        blocks: gives the weight from its first row on each call, as consecutive (rows, block [rows, k]).
        direction: [d], of unit norm, or zero, which changes nothing: the factors are then zero.
        strength: λ.
        norm_preservation: the mode of the edit.
        rank: the largest rank; `change_rank` says what comes of it.

    Returns:
        The factors and what they miss. The same factors for the same weight, signs included.

    Raises:
        ValueError: as `edit.factors`.
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
    """‖ΔW − P Q‖ / ‖ΔW‖ over the matrices of one parameter; 0 where nothing changes."""
    parts = list(parts)
    change = math.hypot(*(part.change for part in parts))
    return math.hypot(*(part.missed for part in parts)) / change if change else 0.0


def truncated(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Compute the best approximation of a matrix by factors of some rank, or nearly the best for a large matrix.

    Each singular vector's largest component is positive on the left side, and the singular value is split evenly.

    Args:
        matrix: [d, k], float64.
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
    root = torch.where(largest[0] < 0, -1.0, 1.0) * S.sqrt()  # both sides change their sign: the product doesn't
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
    """Return the same product with both factors of the same norm."""
    sizes = left.norm(), right.norm()
    if not all(float(size) > 0 for size in sizes):
        return torch.zeros_like(left), torch.zeros_like(right)
    scale = (sizes[1] / sizes[0]).sqrt()
    return left * scale, right / scale


def _measured(changes: Iterable[tuple[slice, Tensor]], left: Tensor, right: Tensor) -> LowRank:
    """Return the factors in float32, with what they miss of a change that comes in row blocks."""
    left, right = left.to(torch.float32), right.to(torch.float32)
    change = missed = 0.0
    for rows, block in changes:
        change += float(block.square().sum())
        missed += float((block - left[rows].to(torch.float64) @ right.to(torch.float64)).square().sum())
    return LowRank(left, right, math.sqrt(change), math.sqrt(missed))
