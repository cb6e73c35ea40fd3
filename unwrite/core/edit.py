"""The edit of one writer in closed form: W' = diag(r) (I − a bᵀ) W diag(c) for every kind of norm preservation.

========= ============================================================= ================================ ======== =====
mode      W'                                                            a                                b        scale
========= ============================================================= ================================ ======== =====
`none`    W − λ v (vᵀW)                                                 λ v                              v        –
`pre`     D (Ŵ − λ v (vᵀŴ)), W = D Ŵ with rows of Ŵ of unit norm        λ D v                            D⁻¹ v    –
`rows`    D · normalize_rows(Ŵ − λ v (vᵀŴ))                             λ D v                            D⁻¹ v    r
`columns` normalize_columns(Ŵ − λ v (vᵀŴ)) · C, W = Ŵ C, unit columns   λ v                              v        c
========= ============================================================= ================================ ======== =====

====== ======= ==================================================================================================
symbol shape   meaning
====== ======= ==================================================================================================
W      [d, k]  the weight, hidden axis first
v      [d]     the direction, unit norm; zero edits nothing
λ      –       the strength: 1 removes v, 2 reflects along it, a negative one strengthens it
D      [d]     the norms of W's rows in `pre` and `rows`, ones in the other modes
b      [d]     the vector it is read along: D⁻¹ v, zero where D is zero
s      [k]     the component of the weight along b: bᵀW
a      [d]     the vector it is subtracted along: λ D v; the edit is W − a s, before scaling
r      [d]     the scale that gives each row its norm back (`rows`), ones in the other modes
c      [k]     the scale that gives each column its norm back (`columns`), ones in the other modes
====== ======= ==================================================================================================

`none` is the directional ablation of Arditi et al. 2024 (λ = 1); `columns` is the norm-preserving form of Lai 2025.

Zero columns stay zero, and so do zero rows in `pre` and `rows` (`none` and `columns` write −λ vᵢ vᵀW into them). A row
(`rows`) or column (`columns`) that keeps at most a millionth of its norm holds nothing but rounding errors, and becomes
zero. All sums are float64 in a fixed order (`reproducible`), so the factors are the same bytes on any machine, for any
division of the rows into blocks.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from unwrite.core import streaming
from unwrite.core.reproducible import add_up, aligned_groups, stable_sqrt, stable_sum
from unwrite.core.rounding import round_to
from unwrite.core.streaming import Workspace
from unwrite.terms import NormPreservation

Blocks = Callable[[], Iterable[tuple[slice, Tensor]]]
"""A function that returns a weight, from its first row on each call, as consecutive (rows, block [rows, k])."""

VANISHED = 1e-6
"""The share of a row's or column's norm up to which it counts as removed completely."""


class Factors(NamedTuple):
    """The edit of one writer, W' = diag(r) (W − a s) diag(c): r, a and b [d], c and s [k], all float64."""

    r: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    s: Tensor


class _Edit(NamedTuple):
    """Factors, and the norms D that the edited rows are scaled back to; None if r is already known."""

    factors: Factors
    row_norms: Tensor | None


def factors(blocks: Blocks, direction: Tensor, strength: float, norm_preservation: NormPreservation) -> Factors:
    """Compute the closed form of one edit, reading the weight once (`none`, `pre`) or twice (`rows`, `columns`).

    Args:
        blocks: returns the weight from its first row on each call, as consecutive (rows, block [rows, k]).
        direction: v, [d], of unit norm to 1e-4 (it is normalized again in float64); zero edits nothing.
        strength: λ.
        norm_preservation: the mode, as in the table of this module.

    Returns:
        The factors, on the direction's device. For λ = 0 or a zero direction: r = c = 1 and a = b = s = 0.

    Raises:
        ValueError: the direction is not a unit vector or does not fit the weight, a number is not finite, or the mode
            is unknown.
    """
    edit, workspace = _prepare_edit(blocks, direction, strength, norm_preservation)
    if edit.row_norms is not None:
        for rows, block in blocks():
            for part, scales, _ in _edited_chunks(block, rows, edit, workspace):
                edit.factors.r[part] = scales
    return edit.factors


def edit_rows(block: Tensor, rows: slice, factors: Factors) -> Tensor:
    """Edit some rows of a weight.

    Args:
        block: some rows of the weight, [rows, k], any floating dtype.
        rows: their indices.
        factors: the result of `factors`.

    Returns:
        r[rows] · (block − a[rows] s) · c, [rows, k], float64; bit for bit the block itself for a no-op edit.
    """
    return factors.r[rows, None] * (block.to(torch.float64) - factors.a[rows, None] * factors.s) * factors.c


def edited_blocks(
    blocks: Blocks, direction: Tensor, strength: float, norm_preservation: NormPreservation
) -> Iterator[tuple[slice, Tensor]]:
    """Edit a weight block by block, each rounded once to its own dtype.

    Args:
        blocks: as in `factors`; the whole weight is read before the first block is returned.
        direction: v, [d], unit norm or zero.
        strength: λ.
        norm_preservation: the mode, as in the table of this module.

    Yields:
        (rows, edited block [rows, k]), in order.

    Raises:
        ValueError: as in `factors` and `round_to`.
    """
    edit, workspace = _prepare_edit(blocks, direction, strength, norm_preservation)
    for rows, block in blocks():
        edited = torch.empty(block.shape, dtype=block.dtype, device=block.device)
        for part, _, values in _edited_chunks(block, rows, edit, workspace):
            edited[part.start - rows.start : part.stop - rows.start] = round_to(values, block.dtype)
        yield rows, edited


def edit_weight(weight: Tensor, direction: Tensor, strength: float, norm_preservation: NormPreservation) -> Tensor:
    """Edit a whole weight in memory.

    Args:
        weight: W, [d, k], hidden axis first, any floating dtype.
        direction: v, [d], unit norm or zero.
        strength: λ.
        norm_preservation: the mode, as in the table of this module.

    Returns:
        W', [d, k], float64, on the weight's device.

    Raises:
        ValueError: as in `factors`.
    """
    rows = slice(0, len(weight))
    return edit_rows(
        weight, rows, factors(lambda: [(rows, weight)], direction.to(weight.device), strength, norm_preservation)
    )


def checked_direction(direction: Tensor, strength: float) -> Tensor:
    """Return the direction [d] of an edit, normalized in float64.

    Raises:
        ValueError: the direction is not one finite vector of norm 1 or 0, or the strength is not finite.
    """
    if not math.isfinite(strength):
        raise ValueError(f"strength must be finite, got {strength}")
    if direction.ndim != 1 or not bool(direction.isfinite().all()):
        raise ValueError(f"a direction must be one vector of finite numbers, got shape {list(direction.shape)}")
    v = direction.to(torch.float64)
    norm = math.sqrt(float(stable_sum(v * v, 0)))
    if norm == 0:
        return v
    if abs(norm - 1) > 1e-4:
        raise ValueError(f"a direction must have norm 1, or 0 for no edit, got norm {norm:.6g}; normalize it first")
    return v / norm


def _prepare_edit(
    blocks: Blocks, direction: Tensor, strength: float, norm_preservation: NormPreservation
) -> tuple[_Edit, Workspace]:
    """Read a weight until its edit is known; the r of `rows` is computed later, when its rows are edited."""
    if norm_preservation not in get_args(NormPreservation):
        raise ValueError(
            f"norm_preservation must be one of {', '.join(get_args(NormPreservation))}, got {norm_preservation!r}"
        )
    v = checked_direction(direction, strength)
    workspace = Workspace(v.device)
    if strength == 0 or not bool(v.any()):
        _, first = next(_groups(blocks, v))
        nothing, s = torch.zeros_like(v), v.new_zeros(first.shape[1])
        return _Edit(Factors(torch.ones_like(v), nothing, nothing, torch.ones_like(s), s), None), workspace
    D, b, s = _read(_groups(blocks, v), v, workspace, by_rows=norm_preservation in {"pre", "rows"})
    if not (bool(D.isfinite().all()) and bool(s.isfinite().all())):
        raise ValueError("the weight holds NaN or infinite values, so it cannot be edited")
    a = strength * D * v
    r, c = torch.ones_like(v), torch.ones_like(s)
    if norm_preservation == "columns":
        c = _column_scales(_groups(blocks, v), a, s, workspace)
    return _Edit(Factors(r, a, b, c, s), D if norm_preservation == "rows" else None), workspace


def _groups(blocks: Blocks, v: Tensor) -> Iterator[tuple[slice, Tensor]]:
    return aligned_groups(blocks(), len(v), dtype=None)


def _read(
    groups: Iterable[tuple[slice, Tensor]], v: Tensor, workspace: Workspace, *, by_rows: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute D, b and s in one pass; without `by_rows`, D is all ones and b is v."""
    D, b, s = torch.ones_like(v), v.clone(), v.new_zeros(())
    for rows, group in groups:
        if by_rows:
            D[rows] = streaming.row_norms(group, workspace)
            b[rows] = torch.where(D[rows] > 0, v[rows] / D[rows], 0.0)
        s = s + streaming.column_sums(group, partial(streaming.weigh, b[rows, None]), workspace)
    return D, b, s


def _column_scales(groups: Iterable[tuple[slice, Tensor]], a: Tensor, s: Tensor, workspace: Workspace) -> Tensor:
    """Compute c in one pass: the norm of each column before the edit over the one after it."""
    before = after = a.new_zeros(())
    for rows, group in groups:
        before = before + streaming.column_sums(group, streaming.square, workspace)
        after = after + streaming.column_sums(group, partial(streaming.square_edited, a[rows, None], s), workspace)
    return _restore(stable_sqrt(before), stable_sqrt(after))


def _edited_chunks(
    block: Tensor, rows: slice, edit: _Edit, workspace: Workspace
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield (rows, r of these rows, edited values [rows, k] in a buffer that the next chunk overwrites)."""
    _, a, _, c, s = edit.factors
    shape = streaming.chunk_shape(block)
    values, (terms, pairs) = workspace.buffer(shape), workspace.summed_buffer(shape, 1)
    for part, chunk in streaming.row_chunks(block, rows):
        edited, term = values[: len(chunk)], terms[: len(chunk)]
        edited.copy_(chunk)
        edited -= torch.mul(a[part, None], s, out=term)
        if edit.row_norms is None:
            edited *= c
            yield part, edit.factors.r[part], edited
            continue
        torch.mul(edited, edited, out=term)
        add_up(pairs)
        scales = _restore(edit.row_norms[part], stable_sqrt(term[:, 0]))
        edited *= scales[:, None]
        yield part, scales, edited


def _restore(before: Tensor, after: Tensor) -> Tensor:
    """Compute the scale that restores norms from `after` to `before`: 0 for a vanished one, 1 for one that was zero."""
    scale = torch.where(after > VANISHED * before, before / after, 0.0)
    return torch.where(before > 0, scale, 1.0)
