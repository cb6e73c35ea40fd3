"""Closed forms from products are those of `edit.factors`, which reads the weight: for every mode and mix of vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unwrite.core.edit import Factors, factors
from unwrite.core.products import column_scales, combined_factors, products, row_scales, with_more
from unwrite.terms import NormPreservation

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def in_blocks(weight: Tensor, rows: int = 7) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(weight), rows):
        yield slice(start, min(start + rows, len(weight))), weight[start : start + rows]


def actual_and_expected(
    weight: Tensor, vectors: Tensor, mixes: Tensor, strengths: Tensor, mode: NormPreservation
) -> Iterator[tuple[Factors, Factors]]:
    mixed = mixes @ vectors
    lengths = mixed.norm(dim=-1, keepdim=True)
    stacked = combined_factors(
        products(lambda: in_blocks(weight), vectors, mode), mixes / lengths, mixed / lengths, strengths, mode
    )
    for trial, strength in enumerate(strengths.tolist()):
        expected = factors(lambda: in_blocks(weight), mixed[trial] / lengths[trial], strength, mode)
        yield Factors(*(values[trial] for values in stacked)), expected


def assert_same(actual: Factors, expected: Factors) -> None:
    for actual_factor, expected_factor in zip(actual, expected, strict=True):
        torch.testing.assert_close(actual_factor, expected_factor, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
@given(
    d=st.integers(2, 70),
    k=st.integers(2, 40),
    n=st.integers(1, 5),
    seed=st.integers(0, 1000),
    strengths=st.lists(st.floats(-0.5, 2), min_size=1, max_size=4),
)
def test_the_closed_form_of_any_mix_is_that_of_the_weight(
    mode: NormPreservation, d: int, k: int, n: int, seed: int, strengths: list[float]
) -> None:
    weight, vectors = normal(d, k, seed=seed), normal(n, d, seed=seed + 1)
    mixes = normal(len(strengths), n, seed=seed + 2)
    for actual, expected in actual_and_expected(
        weight, vectors, mixes, torch.tensor(strengths, dtype=torch.float64), mode
    ):
        # A row or column is precise to 1e-16 / (remaining norm)²; see `row_scales`.
        left = min(float((1 / expected.r.abs()).min()), float((1 / expected.c.abs()).min()))
        if left > 1e-3:
            assert_same(actual, expected)


@pytest.mark.parametrize("mode", MODES)
def test_zero_rows_and_columns_and_a_bfloat16_weight(mode: NormPreservation) -> None:
    weight = normal(12, 9, seed=0).bfloat16()
    weight[3], weight[:, 5] = 0, 0
    for actual, expected in actual_and_expected(
        weight, normal(3, 12, seed=1), normal(2, 3, seed=2), torch.tensor([0.7, 1.2], dtype=torch.float64), mode
    ):
        assert_same(actual, expected)


@pytest.mark.parametrize("mode", MODES)
def test_zero_strength_or_a_zero_direction_edits_nothing(mode: NormPreservation) -> None:
    weight, vectors = normal(6, 4, seed=0), normal(2, 6, seed=1)
    actual = combined_factors(
        products(lambda: in_blocks(weight), vectors, mode),
        torch.eye(2, dtype=torch.float64),
        torch.stack([vectors[0] / vectors[0].norm(), torch.zeros(6, dtype=torch.float64)]),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        mode,
    )
    nothing = factors(lambda: in_blocks(weight), torch.zeros(6), 1.0, mode)
    for trial in range(2):
        for factor, zero in zip(Factors(*(values[trial] for values in actual)), nothing, strict=True):
            assert torch.equal(factor, zero)


@pytest.mark.parametrize("mode", MODES)
def test_products_can_be_added_to(mode: NormPreservation) -> None:
    weight, vectors = normal(20, 11, seed=0), normal(5, 20, seed=1)
    whole = products(lambda: in_blocks(weight), vectors, mode)
    parts = [products(lambda: in_blocks(weight), some, mode) for some in (vectors[:2], vectors[2:])]
    for joined, whole_product in zip(with_more(*parts), whole, strict=True):
        torch.testing.assert_close(joined, whole_product, rtol=1e-13, atol=1e-13)


def test_weights_without_products_are_refused() -> None:
    weight = normal(6, 4, seed=0)
    with pytest.raises(ValueError, match="one row for each of the direction's 5 numbers, got 6 rows"):
        products(lambda: in_blocks(weight), normal(2, 5, seed=1), "rows")
    for mode in MODES:
        weight[2, 1] = torch.nan
        with pytest.raises(ValueError, match="NaN or infinite"):
            products(lambda: in_blocks(weight), normal(2, 6, seed=1), mode)


def case(seed: int, d: int, k: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(d, k, generator=generator, dtype=torch.float64)
    weight = weight * torch.rand(d, 1, generator=generator, dtype=torch.float64)
    return weight, torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)


def read(weight: Tensor, direction: Tensor, strength: float, mode: NormPreservation) -> tuple[Tensor, Tensor]:
    made = factors(lambda: [(slice(0, len(weight)), weight)], direction, strength, mode)
    return made.r, made.c


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(st.integers(0, 2**31), st.integers(2, 100), st.integers(1, 30), st.floats(-0.5, 2))
def test_scales_equal_the_factors(seed: int, d: int, k: int, strength: float) -> None:
    weight, v = case(seed, d, k)
    r, c = read(weight, v, strength, "rows")[0], read(weight, v, strength, "columns")[1]
    assume(max(float(r.max()), float(c.max())) < 100)  # above, cancellation matters
    assume(min(float(r.min()), float(c.min())) > 0)
    unit = weight / weight.norm(dim=1, keepdim=True)
    u = unit.T @ v
    assert torch.allclose(row_scales(v, strength, unit @ u, u @ u), r, rtol=1e-10)
    assert torch.allclose(column_scales(strength, v @ (weight / weight.norm(dim=0))), c, rtol=1e-10)


def test_products_with_stored_directions_give_every_direction_between_them() -> None:
    # The purpose of the formulas: for (1 − f) v₁ + f v₂, p is linear and g quadratic in products computed once.
    weight, first = case(0, 40, 10)
    second = case(1, 40, 10)[1]
    unit = weight / weight.norm(dim=1, keepdim=True)
    u = torch.stack([first, second]) @ unit  # [2, k]
    p, gram = u @ unit.T, u @ u.T
    mix = torch.tensor([0.3, 0.7], dtype=torch.float64)
    v = mix @ torch.stack([first, second])
    mix, v = mix / v.norm(), v / v.norm()
    assert torch.allclose(row_scales(v, 1.2, mix @ p, mix @ gram @ mix), read(weight, v, 1.2, "rows")[0], rtol=1e-12)


def test_a_vanished_row_or_column_has_scale_zero() -> None:
    v = torch.tensor([0.6, 0.8], dtype=torch.float64)
    # ŵ₀ = λ v₀ u: then p₀ = ŵ₀·u = λ v₀ g and 1 − 2 λ² v₀² g + λ² v₀² g = 0 for λ² v₀² g = 1.
    g = torch.tensor(1 / 0.36, dtype=torch.float64)
    scales = row_scales(v, 1.0, torch.stack([0.6 * g, torch.tensor(0.1, dtype=torch.float64)]), g)
    assert scales[0] == 0
    assert scales[1] > 0
    assert column_scales(1.0, torch.tensor([1.0, -1.0, 0.0, 0.6], dtype=torch.float64)).tolist() == [0, 0, 1, 1.25]


def test_scales_of_many_strengths_at_once() -> None:
    v, p = torch.tensor([0.6, 0.8], dtype=torch.float64), torch.tensor([0.3, 0.4], dtype=torch.float64)
    g, strengths = torch.tensor(0.5, dtype=torch.float64), torch.tensor([[0.5], [1.0]], dtype=torch.float64)
    assert torch.equal(row_scales(v, strengths, p, g)[0], row_scales(v, 0.5, p, g))
    assert torch.equal(column_scales(strengths, p)[1], column_scales(1.0, p))
