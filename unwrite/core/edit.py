"""The edit of one writer in closed form: W' = diag(r) (I − a bᵀ) W diag(c) for every kind of norm preservation.

With W ∈ ℝ^{d×k} (hidden axis first), the unit direction v and the strength λ:

========= ============================================================= ================================ ======== =====
mode      W'                                                            a                                b        scale
========= ============================================================= ================================ ======== =====
`none`    W − λ v (vᵀW)                                                 λ v                              v        –
`pre`     D (Ŵ − λ v (vᵀŴ)), W = D Ŵ with rows of Ŵ of unit norm        λ D v                            D⁻¹ v    –
`rows`    D · normalize_rows(Ŵ − λ v (vᵀŴ))                             λ D v                            D⁻¹ v    r
`columns` normalize_columns(Ŵ − λ v (vᵀŴ)) · C, W = Ŵ C, unit columns   λ v                              v        c
========= ============================================================= ================================ ======== =====

`none` is the directional ablation of Arditi et al. 2024 (λ = 1); `columns` is the norm-preserving form of Lai 2025. A
strength over 1 turns the sign of what is written along v (2 reflects), a negative one strengthens it.

Zero columns stay zero, and so do zero rows in `pre` and `rows` (`none` and `columns` write −λ vᵢ vᵀW into them). A row
(`rows`) or column (`columns`) of which no more than a millionth is left has nothing to restore but rounding errors, and
becomes zero. All sums are float64 in a fixed order (`reproducible`): the factors are the same bytes on any machine and
however the rows were cut into blocks.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from unwrite.core.reproducible import add_up, aligned_groups, halves, stable_sqrt, stable_sum
from unwrite.core.rounding import round_to
from unwrite.terms import NormPreservation

CACHED = 1 << 18
"""Numbers held in float64 at once: few enough for a processor's cache, and enough that an operation on them takes
longer than threads take to hand Python's lock to each other."""

VANISHED = 1e-6
"""The part of a row's or column's norm up to which it counts as removed altogether."""


_Room = Callable[[tuple[int, int], int | None], tuple[Tensor, list[tuple[Tensor, Tensor]]]]


class Factors(NamedTuple):
    """The edit of one writer, W' = diag(r) (W − a s) diag(c); float64."""

    r: Tensor
    """Output scale, [d]."""
    a: Tensor
    """What is subtracted, [d]."""
    b: Tensor
    """What is read, [d]."""
    c: Tensor
    """Input scale, [k]."""
    s: Tensor
    """bᵀW, [k]."""


def factors(
    blocks: Callable[[], Iterable[tuple[slice, Tensor]]],
    direction: Tensor,
    strength: float,
    norm_preservation: NormPreservation,
) -> Factors:
    """Compute the closed form of one edit, reading the weight once (`none`, `pre`) or twice (`rows`, `columns`).

    Args:
        blocks: gives the weight from its first row on each call, as consecutive (rows, block [rows, k]).
        direction: [d], of unit norm to 1e-4 (it is normalized again in float64), or zero, which edits nothing.
        strength: λ.
        norm_preservation: the mode, see the top of this module.

    Returns:
        The factors, on the direction's device. For λ = 0 or a zero direction: r = c = 1 and a = b = s = 0.

    Raises:
        ValueError: the direction isn't a unit vector or doesn't fit the weight; a number isn't finite; the mode is
            unknown.
    """
    form, norms = _closed_form(blocks, direction, strength, norm_preservation)
    if norms is not None:
        room = _room(form.s.device)
        for rows, block in blocks():
            for part, scales, _ in _edited_parts(block, rows, form, norms, room):
                form.r[part] = scales
    return form


def edit_rows(block: Tensor, rows: slice, factors: Factors) -> Tensor:
    """Edit some rows of a weight.

    Args:
        block: rows `rows` of the weight, [rows, k], any floating dtype.
        rows: which ones they are.
        factors: from `factors`.

    Returns:
        r[rows] · (block − a[rows] s) · c, [rows, k], float64; bit for bit the block itself for an edit of nothing.
    """
    return factors.r[rows, None] * (block.to(torch.float64) - factors.a[rows, None] * factors.s) * factors.c


def edited_blocks(
    blocks: Callable[[], Iterable[tuple[slice, Tensor]]],
    direction: Tensor,
    strength: float,
    norm_preservation: NormPreservation,
) -> Iterator[tuple[slice, Tensor]]:
    """Edit a weight block by block, each rounded once to the dtype it came in.

    Args:
        blocks: as `factors`; all of it is read before the first block is given back.
        direction: [d], unit norm or zero.
        strength: λ.
        norm_preservation: the mode, see the top of this module.

    Yields:
        (rows, edited block [rows, k]) in order.

    Raises:
        ValueError: as `factors` and `round_to`.
    """
    form, norms = _closed_form(blocks, direction, strength, norm_preservation)
    room = _room(form.s.device)
    for rows, block in blocks():
        edited = torch.empty(block.shape, dtype=block.dtype, device=block.device)
        for part, _, values in _edited_parts(block, rows, form, norms, room):
            edited[part.start - rows.start : part.stop - rows.start] = round_to(values, block.dtype)
        yield rows, edited


def edit_weight(weight: Tensor, direction: Tensor, strength: float, norm_preservation: NormPreservation) -> Tensor:
    """Edit a weight that is in memory as a whole.

    Args:
        weight: [d, k], hidden axis first, any floating dtype.
        direction: [d], unit norm or zero.
        strength: λ.
        norm_preservation: the mode, see the top of this module.

    Returns:
        W', [d, k], float64, on the weight's device.

    Raises:
        ValueError: as `factors`.
    """
    rows = slice(0, len(weight))
    return edit_rows(
        weight, rows, factors(lambda: [(rows, weight)], direction.to(weight.device), strength, norm_preservation)
    )


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
    v = _unit(direction.to(bias.device), strength)
    if v.shape != bias.shape:
        raise ValueError(f"a bias must have the shape of its direction, [{len(v)}], got {list(bias.shape)}")
    b = bias.to(torch.float64)
    if strength == 0 or not bool(v.any()):
        return b
    return b - strength * v * stable_sum(v * b, 0)


def _unit(direction: Tensor, strength: float) -> Tensor:
    """Check an edit's direction and strength; the direction comes back normalized in float64, [d]."""
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


def _closed_form(
    blocks: Callable[[], Iterable[tuple[slice, Tensor]]],
    direction: Tensor,
    strength: float,
    norm_preservation: NormPreservation,
) -> tuple[Factors, Tensor | None]:
    """The factors; those of `rows` without r, but with the norms [d] that its rows must have again."""
    if norm_preservation not in get_args(NormPreservation):
        raise ValueError(
            f"norm_preservation must be one of {', '.join(get_args(NormPreservation))}, got {norm_preservation!r}"
        )
    v = _unit(direction, strength)

    def groups() -> Iterator[tuple[slice, Tensor]]:
        return aligned_groups(blocks(), len(v), dtype=None)

    if strength == 0 or not bool(v.any()):
        _, first = next(iter(groups()))
        zeros = v.new_zeros(first.shape[1])
        return Factors(
            torch.ones_like(v), torch.zeros_like(v), torch.zeros_like(v), torch.ones_like(zeros), zeros
        ), None

    room = _room(v.device)
    D, b, s = torch.ones_like(v), v.clone(), v.new_zeros(())
    for rows, group in groups():
        if norm_preservation in {"pre", "rows"}:
            D[rows] = _row_norms(group, room)
            b[rows] = torch.where(D[rows] > 0, v[rows] / D[rows], 0.0)
        s = s + _column_sums(group, partial(_weigh, b[rows, None]), room)
    if not (bool(D.isfinite().all()) and bool(s.isfinite().all())):
        raise ValueError("the weight holds NaN or infinite values, so it cannot be edited")
    a, c = strength * D * v, torch.ones_like(s)
    if norm_preservation == "columns":
        before = after = v.new_zeros(())
        for rows, group in groups():
            before = before + _column_sums(group, lambda x, _: _square(x), room)
            after = after + _column_sums(group, partial(_square_edited, a[rows, None], s), room)
        c = _restore(stable_sqrt(before), stable_sqrt(after))
    return Factors(torch.ones_like(v), a, b, c, s), D if norm_preservation == "rows" else None


def _row_norms(block: Tensor, room: _Room) -> Tensor:
    """[rows], float64."""
    step = _few(block.shape[1], block)
    squares, pairs = room((min(step, len(block)), block.shape[1]), 1)
    sums = []
    for few in torch.split(block, step):
        _square(squares[: len(few)].copy_(few))
        add_up(pairs)
        sums.append(squares[: len(few), 0].clone())
    return stable_sqrt(torch.cat(sums))


def _column_sums(group: Tensor, term: Callable[[Tensor, slice], object], room: _Room) -> Tensor:
    """The sum over rows of what `term(float64 numbers, their columns)` makes of a group's numbers, in place; [k]."""
    rows, k = group.shape
    step = _few(rows, group)
    terms, pairs = room((rows, min(step, k)), 0)
    sums = terms.new_empty(k)
    for start in range(0, k, step):
        columns = slice(start, min(start + step, k))
        few = terms[:, : columns.stop - start]
        term(few.copy_(group[:, columns]), columns)
        add_up(pairs)
        sums[columns] = few[0]
    return sums


def _edited_parts(
    block: Tensor, rows: slice, form: Factors, norms: Tensor | None, room: _Room
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Edited rows, a few at a time: (which, their scales r, values [rows, k] in a buffer that the next ones reuse)."""
    step = _few(block.shape[1], block)
    shape = (min(step, len(block)), block.shape[1])
    (values, _), (terms, pairs) = room(shape, None), room(shape, 1)
    start = rows.start
    for few in torch.split(block, step):
        part = slice(start, start + len(few))
        edited, term, scales = values[: len(few)], terms[: len(few)], form.r[part]
        edited.copy_(few)
        edited -= torch.mul(form.a[part, None], form.s, out=term)
        if norms is None:
            edited *= form.c
        else:
            torch.mul(edited, edited, out=term)
            add_up(pairs)
            scales = _restore(norms[part], stable_sqrt(term[:, 0]))
            edited *= scales[:, None]
        yield part, scales, edited
        start = part.stop


def _room(device: torch.device) -> _Room:
    """Room for float64 numbers of a shape, filled anew by each who asks, and what adds them up along an axis, if any.

    What is kept for a weight's next rows need not be found again, which takes longer than filling it.
    """

    @cache
    def room(shape: tuple[int, int], dim: int | None) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        numbers = torch.zeros(shape, dtype=torch.float64, device=device)
        return numbers, [] if dim is None else halves(numbers, dim)

    return room


def _few(width: int, of: Tensor) -> int:
    """How many rows (columns) of that many numbers are dealt with at once."""
    return max(1, CACHED // width) if of.device.type == "cpu" else of.numel()


def _weigh(b: Tensor, x: Tensor, _columns: slice) -> Tensor:
    return x.mul_(b)


def _square_edited(a: Tensor, s: Tensor, x: Tensor, columns: slice) -> Tensor:
    return _square(x.sub_(a * s[columns]))


def _square(x: Tensor) -> Tensor:
    return x.mul_(x)


def _restore(before: Tensor, after: Tensor) -> Tensor:
    """The factor that takes norms `after` back to `before`: 0 for what has vanished, 1 for what was zero already."""
    scale = torch.where(after > VANISHED * before, before / after, 0.0)
    return torch.where(before > 0, scale, 1.0)
