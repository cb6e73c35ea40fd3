"""The factors are the change itself if it has rank 1, otherwise the best of their rank, and their error is correct."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.support.tiny import random_direction
from unwrite.core import low_rank
from unwrite.core.edit import edit_weight
from unwrite.core.low_rank import LowRank, change_rank, low_rank_change, relative_error, truncated
from unwrite.terms import NormPreservation

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
EXACT: tuple[NormPreservation, ...] = ("none", "pre")
RESTORED: tuple[NormPreservation, ...] = ("rows", "columns")


def weight(d: int = 24, k: int = 40, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(d, k, generator=generator) * (0.2 + torch.rand(d, 1, generator=generator))


def in_blocks(W: Tensor, rows: int = 7) -> Callable[[], Iterator[tuple[slice, Tensor]]]:
    def blocks() -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(W), rows):
            block = W[start : start + rows]
            yield slice(start, start + len(block)), block

    return blocks


def change_of(W: Tensor, v: Tensor, strength: float, mode: NormPreservation) -> Tensor:
    return edit_weight(W, v, strength, mode) - W.double()


def product(actual: LowRank) -> Tensor:
    return actual.left.double() @ actual.right.double()


def relative_distance(actual: LowRank, change: Tensor) -> float:
    return float(torch.linalg.matrix_norm(change - product(actual)) / torch.linalg.matrix_norm(change))


@given(
    st.sampled_from(EXACT),
    st.integers(2, 40),
    st.integers(1, 40),
    st.floats(0.05, 2),
    st.integers(1, 100),
    st.integers(0, 99),
)
def test_rank_one_is_exact_if_no_norm_is_restored(
    mode: NormPreservation, d: int, k: int, strength: float, rank: int, seed: int
) -> None:
    W, v = weight(d, k, seed), random_direction(d, seed)
    actual = low_rank_change(in_blocks(W), v, strength, mode, rank)
    assert (actual.left.shape, actual.right.shape) == ((d, 1), (1, k))
    assert actual.left.dtype == actual.right.dtype == torch.float32
    assert relative_distance(actual, change_of(W, v, strength, mode)) < 2e-7
    assert relative_error([actual]) < 2e-7


@given(st.sampled_from(RESTORED), st.integers(2, 30), st.integers(2, 30), st.floats(0.05, 1.5), st.integers(0, 99))
def test_full_rank_is_exact_if_norms_are_restored(
    mode: NormPreservation, d: int, k: int, strength: float, seed: int
) -> None:
    W, v = weight(d, k, seed), random_direction(d, seed)
    actual = low_rank_change(in_blocks(W), v, strength, mode, 100)
    assert (actual.left.shape, actual.right.shape) == ((d, min(d, k)), (min(d, k), k))
    assert relative_distance(actual, change_of(W, v, strength, mode)) < 1e-6


@pytest.mark.parametrize("mode", RESTORED)
def test_the_error_is_the_smallest_of_the_rank_and_the_stated_one(mode: NormPreservation) -> None:
    W, v = weight(), random_direction(24)
    change = change_of(W, v, 1.1, mode)
    sizes = torch.linalg.svdvals(change)
    errors = []
    for rank in (1, 2, 5, 12):
        actual = low_rank_change(in_blocks(W), v, 1.1, mode, rank)
        least = float(sizes[rank:].norm() / sizes.norm())
        assert relative_distance(actual, change) == pytest.approx(least, rel=1e-4)
        assert relative_error([actual]) == pytest.approx(relative_distance(actual, change), rel=1e-9)
        errors.append(least)
    assert errors == sorted(errors, reverse=True)
    assert 0.9 > errors[0] > 2 * errors[-1] > 0.01  # the change does not have rank 1, so the rank matters


@pytest.mark.parametrize("mode", RESTORED)
def test_a_large_matrix_is_nearly_as_well_approximated_from_a_fixed_start(
    mode: NormPreservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    W, v = weight(150, 220), random_direction(150)
    whole = low_rank_change(in_blocks(W), v, 1.1, mode, 6)
    monkeypatch.setattr(low_rank, "SMALL", 100)
    torch.manual_seed(1)
    first = low_rank_change(in_blocks(W), v, 1.1, mode, 6)
    torch.manual_seed(2)
    second = low_rank_change(in_blocks(W, rows=64), v, 1.1, mode, 6)
    assert not torch.equal(first.left, whole.left)
    assert torch.equal(first.left, second.left)
    assert torch.equal(first.right, second.right)
    assert 1 - 1e-6 < relative_error([first]) / relative_error([whole]) < 1.005
    assert relative_error([first]) == pytest.approx(relative_distance(first, change_of(W, v, 1.1, mode)), rel=1e-9)


def test_the_signs_of_a_matrix_and_its_negative_are_fixed() -> None:
    matrix = weight(20, 30).double()
    for A in (matrix, -matrix):
        P, Q = truncated(A, 15)
        assert bool((P.gather(0, P.abs().argmax(0, keepdim=True)) > 0).all())
        torch.testing.assert_close(P.norm(dim=0), Q.norm(dim=1))
    torch.testing.assert_close(truncated(-matrix, 15)[0], truncated(matrix, 15)[0])
    torch.testing.assert_close(truncated(-matrix, 15)[1], -truncated(matrix, 15)[1])


@pytest.mark.parametrize("mode", MODES)
def test_both_factors_have_the_same_norm(mode: NormPreservation) -> None:
    actual = low_rank_change(in_blocks(1e-3 * weight()), random_direction(24), 1.3, mode, 4)
    assert float(actual.left.norm()) == pytest.approx(float(actual.right.norm()), rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_no_op_edit_has_zero_factors_and_no_error(mode: NormPreservation) -> None:
    for v, strength in ((torch.zeros(24), 1.0), (random_direction(24), 0.0)):
        actual = low_rank_change(in_blocks(weight()), v, strength, mode, 3)
        assert not product(actual).any()
        assert relative_error([actual]) == 0.0
        assert len(actual.right) == change_rank((24, 40), mode, 3)


def test_the_error_of_several_matrices_is_that_of_all_of_them() -> None:
    v = random_direction(24)
    weights = [weight(seed=seed) * size for seed, size in ((0, 1.0), (1, 0.01))]
    actual = [low_rank_change(in_blocks(W), v, 1.0, "rows", rank) for W, rank in zip(weights, (8, 1), strict=True)]
    changes = torch.stack([change_of(W, v, 1.0, "rows") for W in weights])
    products = torch.stack([product(factors) for factors in actual])
    assert relative_error(actual) == pytest.approx(float((changes - products).norm() / changes.norm()), rel=1e-9)
    assert relative_error([]) == 0.0


def test_the_change_of_a_bfloat16_weight_is_that_before_rounding() -> None:
    W, v = weight().bfloat16(), random_direction(24)
    actual = low_rank_change(in_blocks(W), v, 1.0, "none", 1)
    assert relative_distance(actual, change_of(W, v, 1.0, "none")) < 2e-7
    rounded = edit_weight(W, v, 1.0, "none").bfloat16().double() - W.double()
    assert relative_distance(actual, rounded) > 1e-3


def test_a_direction_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="one row for each of the direction's 23 numbers, got"):
        low_rank_change(in_blocks(weight()), random_direction(23), 1.0, "rows", 2)
