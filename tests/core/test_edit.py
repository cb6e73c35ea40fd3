"""The closed form against the dense formulas of the design; the theorem of each mode, and a control for each."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from tests.support.edits import CHECK, MODES, Case, cases, close, in_blocks, left
from unwrite.core import streaming
from unwrite.core.edit import edit_rows, edit_weight, edited_blocks, factors
from unwrite.core.rounding import round_to
from unwrite.terms import NormPreservation


def dense(W: Tensor, v: Tensor, strength: float, mode: NormPreservation) -> Tensor:
    """Return the edit by the table of `core.edit`, with explicit matrices."""
    eye = torch.eye(len(v), dtype=torch.float64)
    P = eye - strength * torch.outer(v, v)
    rows, columns = W.norm(dim=1), W.norm(dim=0)
    unit_rows = torch.where(rows > 0, rows, 1)
    unit_columns = torch.where(columns > 0, columns, 1)
    if mode == "none":
        return P @ W
    if mode == "columns":
        edited = P @ (W / unit_columns)
        norms = edited.norm(dim=0)
        kept: Tensor = edited / torch.where(norms > 0, norms, 1) * columns
        return kept
    edited = P @ (W / unit_rows[:, None])
    if mode == "rows":
        norms = edited.norm(dim=1)
        edited = edited / torch.where(norms > 0, norms, 1)[:, None]
    return torch.diag(rows) @ edited


@CHECK
@given(cases(), st.sampled_from(MODES))
def test_an_edit_equals_the_dense_formula(case: Case, mode: NormPreservation) -> None:
    assume(mode in {"none", "pre"} or left(case, mode) > 1e-3)
    edited = edit_weight(case.weight, case.direction, case.strength, mode)
    assert close(edited, dense(case.weight, case.direction, case.strength, mode))


@CHECK
@given(cases(), st.sampled_from(MODES), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_zero_strength_or_a_zero_direction_returns_the_weight_bit_for_bit(
    case: Case, mode: NormPreservation, dtype: torch.dtype
) -> None:
    weight = (-case.weight).to(dtype)  # zeros become −0.0
    for edited in (
        edit_weight(weight, case.direction, 0.0, mode),
        edit_weight(weight, torch.zeros_like(case.direction), case.strength, mode),
    ):
        assert edited.dtype == torch.float64
        assert torch.equal(edited.view(torch.int64), weight.to(torch.float64).view(torch.int64))


@CHECK
@given(cases())
def test_a_full_ablation_writes_nothing_along_the_direction(case: Case) -> None:
    scale = float(case.weight.abs().max())
    assert float((case.direction @ edit_weight(case.weight, case.direction, 1, "none")).abs().max()) <= 1e-14 * scale


def test_control_half_an_ablation_still_writes_along_the_direction() -> None:
    weight, direction = torch.eye(4, dtype=torch.float64), torch.full((4,), 0.5, dtype=torch.float64)
    assert float((direction @ weight).abs().max()) == 0.5
    assert float((direction @ edit_weight(weight, direction, 0.5, "none")).abs().max()) == 0.25


def test_a_float32_direction_is_normalized_again_before_a_full_ablation() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 7, generator=generator, dtype=torch.float64)
    exact = torch.randn(300, generator=generator, dtype=torch.float64)
    rounded = (exact / exact.norm()).float()
    v = rounded.double()
    raw = weight - torch.outer(v, v @ weight)
    assert float((v @ raw).abs().max()) > 1e-9  # the control: without that it is not a projection
    assert float((v @ edit_weight(weight, rounded, 1, "none")).abs().max()) < 1e-13


@CHECK
@given(cases())
def test_rows_keeps_row_norms(case: Case) -> None:
    assume(left(case, "rows") > 1e-5)
    before = case.weight.norm(dim=1)
    after = edit_weight(case.weight, case.direction, case.strength, "rows").norm(dim=1)
    assert bool(((after - before).abs() <= 1e-12 * before).all())


@CHECK
@given(cases())
def test_columns_keeps_column_norms(case: Case) -> None:
    assume(left(case, "columns") > 1e-5)
    before = case.weight.norm(dim=0)
    after = edit_weight(case.weight, case.direction, case.strength, "columns").norm(dim=0)
    assert bool(((after - before).abs() <= 1e-12 * before).all())


@pytest.mark.parametrize(("mode", "axis"), [("none", 1), ("pre", 1), ("columns", 1), ("none", 0), ("rows", 0)])
def test_control_other_modes_change_the_norms(mode: NormPreservation, axis: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(12, 8, generator=generator, dtype=torch.float64)
    direction = torch.randn(12, generator=generator, dtype=torch.float64)
    edited = edit_weight(weight, direction / direction.norm(), 1, mode)
    assert float((edited.norm(dim=axis) / weight.norm(dim=axis) - 1).abs().max()) > 0.01


@CHECK
@given(cases(), st.sampled_from(MODES))
def test_zero_rows_and_columns_stay_zero_and_nothing_is_nan(case: Case, mode: NormPreservation) -> None:
    weight = case.weight.clone()
    weight[len(weight) // 2] = 0
    weight[:, -1] = 0
    for strength in (case.strength, 1.0):
        made = factors(in_blocks(weight, 17), case.direction, strength, mode)
        edited = edit_rows(weight, slice(0, len(weight)), made)
        assert all(bool(part.isfinite().all()) for part in made)
        assert bool(edited.isfinite().all())
        assert not edited[:, -1].any()
        if mode in {"pre", "rows"}:  # the others write −λ vᵢ vᵀW into a zero row, as the formula says
            assert not edited[len(weight) // 2].any()


@pytest.mark.parametrize("mode", MODES)
def test_a_weight_of_zeros_and_one_of_one_row(mode: NormPreservation) -> None:
    direction = torch.tensor([0.6, 0.8], dtype=torch.float64)
    assert not edit_weight(torch.zeros(2, 3), direction, 1, mode).any()
    edited = edit_weight(torch.tensor([[3.0, -4.0]]), torch.tensor([-1.0]), 1, mode)
    assert float(edited.abs().max()) < 1e-15
    assert mode not in {"rows", "columns"} or not edited.any()


def test_a_row_that_is_removed_completely_becomes_zero() -> None:
    # Only row 0 contributes along v, and it equals v₀u: nothing of it remains but rounding.
    v = torch.tensor([0.6, 0.8], dtype=torch.float64)
    weight = torch.tensor([[1 / 3, 2 / 7]], dtype=torch.float64).repeat(2, 1) * torch.tensor([[0.6], [0.8]])
    u = (weight / weight.norm(dim=1, keepdim=True)).T @ v
    strength = float(1 / (0.6 * u.norm()))  # 1 / (v₀ ‖u‖): then ŵ₀ − λ v₀ u = 0
    made = factors(in_blocks(weight, 2), v, strength, "rows")
    assert made.r[0] == 0
    assert made.r[1] > 0


def test_a_column_along_the_direction_becomes_zero() -> None:
    v = torch.tensor([0.6, 0.8], dtype=torch.float64)
    weight = torch.stack([v / 3, torch.tensor([1.0, 0.0], dtype=torch.float64)], dim=1)
    assert factors(in_blocks(weight, 1), v, 1, "columns").c[0] == 0
    assert not edit_weight(weight, v, 1, "columns")[:, 0].any()
    assert close(edit_weight(weight, v, 1, "columns")[:, 1], torch.tensor([0.8, -0.6], dtype=torch.float64))


@CHECK
@given(cases(), st.sampled_from(MODES), st.integers(1, 200))
def test_every_division_into_blocks_gives_the_same_bytes(case: Case, mode: NormPreservation, size: int) -> None:
    blocks = in_blocks(case.weight, size)
    made = factors(blocks, case.direction, case.strength, mode)
    whole = factors(in_blocks(case.weight, len(case.weight)), case.direction, case.strength, mode)
    assert all(torch.equal(a, b) for a, b in zip(made, whole, strict=True))
    edited = torch.cat([edit_rows(block, rows, made) for rows, block in blocks()])
    assert torch.equal(edited, edit_weight(case.weight, case.direction, case.strength, mode))


def halved(x: Tensor) -> Tensor:
    """Sum over the first axis in the order that every release depends on: halves are added, an odd row to the first."""
    while len(x) > 1:
        half = len(x) // 2
        folded = x[:half] + x[half : 2 * half]
        if len(x) % 2:
            folded[0] += x[-1]
        x = folded
    return x[0]


def plain(W: Tensor, v: Tensor, strength: float, mode: NormPreservation) -> Tensor:
    """Return the edit in the fixed order of additions, by a few plain lines: groups of 64 rows, one after another."""

    def summed(x: Tensor) -> Tensor:
        total = torch.zeros_like(x[0])
        for start in range(0, len(x), 64):
            total = total + halved(x[start : start + 64])
        return total

    def root(x: Tensor) -> Tensor:
        return torch.tensor([math.sqrt(number) for number in x.tolist()], dtype=torch.float64)

    def restore(before: Tensor, after: Tensor) -> Tensor:
        return torch.where(before > 0, torch.where(after > 1e-6 * before, before / after, 0.0), 1.0)

    W, v = W.double(), v / math.sqrt(float(halved(v * v)))
    D = root(halved((W * W).T)) if mode in {"pre", "rows"} else torch.ones_like(v)
    b = torch.where(D > 0, v / D, 0.0)
    edited = W - (strength * D * v)[:, None] * summed(b[:, None] * W)
    if mode == "rows":
        return restore(D, root(halved((edited * edited).T)))[:, None] * edited
    if mode == "columns":
        return edited * restore(root(summed(W * W)), root(summed(edited * edited)))
    return edited


@CHECK
@given(
    cases(),
    st.sampled_from(MODES),
    st.sampled_from([torch.bfloat16, torch.float32]),
    st.integers(1, 200),
    st.sampled_from([1, 50, 999, 1 << 18]),
)
def test_every_byte_is_that_of_the_fixed_order(
    case: Case, mode: NormPreservation, dtype: torch.dtype, size: int, cached: int
) -> None:
    assume(case.strength != 0)
    weight = case.weight.to(dtype)
    expected = round_to(plain(weight, case.direction, case.strength, mode), dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "CACHED", cached)
        blocks = edited_blocks(in_blocks(weight, size), case.direction, case.strength, mode)
        assert torch.equal(torch.cat([block for _, block in blocks]), expected)


def test_control_another_order_of_additions_gives_other_bytes() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(150, 40, generator=generator, dtype=torch.float64)
    v = torch.nn.functional.normalize(torch.randn(150, generator=generator, dtype=torch.float64), dim=0)
    backwards = edit_weight(weight.flip(0), v.flip(0), 1, "none").flip(0)
    assert not torch.equal(backwards, edit_weight(weight, v, 1, "none"))
    assert close(backwards, edit_weight(weight, v, 1, "none"), 1e-13)


@pytest.mark.parametrize(
    ("direction", "strength", "mode", "message"),
    [
        ([1.0, 1.0], 1.0, "none", "must have norm 1, or 0 for no edit, got norm 1.41421"),
        ([float("nan"), 1.0], 1.0, "none", "finite"),
        ([[1.0, 0.0]], 1.0, "none", r"got shape \[1, 2\]"),
        ([1.0, 0.0], float("inf"), "none", "strength must be finite, got inf"),
        ([1.0, 0.0], 1.0, "row", "must be one of none, pre, rows, columns, got 'row'"),
        ([1.0, 0.0, 0.0], 1.0, "rows", "one row for each of the direction's 3 numbers, got 2 rows"),
        ([1.0], 1.0, "rows", "one row for each of the direction's 1 numbers, got 2 rows"),
    ],
)
def test_a_bad_direction_strength_or_mode_is_refused(
    direction: list[float], strength: float, mode: NormPreservation, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        edit_weight(torch.eye(2), torch.tensor(direction), strength, mode)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("mode", MODES)
def test_a_weight_that_is_not_finite_is_refused(bad: float, mode: NormPreservation) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        edit_weight(torch.tensor([[1.0, bad], [1.0, 2.0]]), torch.tensor([0.6, 0.8]), 1, mode)
