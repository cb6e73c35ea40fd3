"""Sums are correct, and do not depend on the division into blocks."""

import math
from collections.abc import Iterator
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unwrite.core.reproducible import GROUP_ROWS, add_up, aligned_groups, halves, stable_sqrt, stable_sum

CHECK = settings(deadline=None, derandomize=True, max_examples=60, database=None)


@CHECK
@given(st.lists(st.floats(-1e6, 1e6), max_size=100))
def test_a_sum_equals_the_exactly_rounded_one(numbers: list[float]) -> None:
    actual = float(stable_sum(torch.tensor(numbers, dtype=torch.float64), 0))
    assert actual == pytest.approx(math.fsum(numbers), abs=1e-15 * 7 * sum(map(abs, numbers)))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_a_sum_can_be_over_any_axis(dim: int) -> None:
    x = torch.arange(3 * 5 * 7, dtype=torch.float64).reshape(3, 5, 7)
    kept = x.clone()
    assert torch.equal(stable_sum(x, dim), x.sum(dim))  # whole numbers: no rounding
    assert torch.equal(x, kept)


def test_square_roots_are_correctly_rounded() -> None:
    # The norms depend on it: torch.sqrt differs in the last bit where MKL computes it.
    x = torch.rand(2_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e3
    with localcontext(prec=60):
        expected = [float(Decimal(number).sqrt()) for number in x.tolist()]
    assert stable_sqrt(x).tolist() == expected
    assert torch.equal(stable_sqrt(x.reshape(2, -1, 5)), stable_sqrt(x).reshape(2, -1, 5))


def test_products_and_quotients_of_torch_are_those_of_ieee_754() -> None:
    # The reproducibility of edits depends on this property of torch; Python's arithmetic is the reference.
    x, y = torch.rand(2, 20_003, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1e3
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    assert (x * y).tolist() == [a * b for a, b in pairs]
    assert (x / y).tolist() == [a / b for a, b in pairs]
    assert (x - x * y).tolist() == [a - a * b for a, b in pairs]


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (1, 6), (64, 5), (13, 100)])
def test_halves_can_be_reused_when_the_tensor_is_refilled(shape: tuple[int, int], dim: int) -> None:
    room = torch.zeros(shape, dtype=torch.float64)
    pairs = halves(room, dim)
    for seed in range(2):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        room.copy_(x)
        add_up(pairs)
        assert torch.equal(room.select(dim, 0), stable_sum(x, dim))


def test_the_sum_over_an_empty_axis_is_zero() -> None:
    assert torch.equal(stable_sum(torch.ones(0, 3), 0), torch.zeros(3))


def test_a_sum_is_pairwise() -> None:
    # Sequential addition loses each of these numbers; pairwise addition keeps them.
    x = torch.full((2**12,), 2.0**-53, dtype=torch.float64)
    x[0] = 1
    one_by_one = 1.0
    for number in x[1:].tolist():
        one_by_one += number
    assert one_by_one == 1
    assert float(stable_sum(x, 0)) == pytest.approx(1 + 4095 * 2.0**-53, abs=2.0**-52)


@CHECK
@given(st.integers(1, 300), st.lists(st.integers(1, 150), min_size=1, max_size=40))
def test_groups_hold_the_rows_in_order_at_fixed_starts(rows: int, sizes: list[int]) -> None:
    weight = torch.arange(rows * 2, dtype=torch.float32).reshape(rows, 2)
    blocks: list[tuple[slice, Tensor]] = []
    start = 0
    while start < rows:
        stop = min(rows, start + sizes[len(blocks) % len(sizes)])
        blocks.append((slice(start, stop), weight[start:stop]))
        start = stop
    groups = list(aligned_groups(blocks, rows))
    assert torch.equal(torch.cat([group for _, group in groups]), weight.double())
    assert [(where.start, where.stop) for where, _ in groups] == [
        (i, min(i + GROUP_ROWS, rows)) for i in range(0, rows, GROUP_ROWS)
    ]


def test_groups_keep_their_dtype_if_none_is_requested() -> None:
    blocks = [(slice(0, 70), torch.ones(70, 2).bfloat16())]
    assert [group.dtype for _, group in aligned_groups(blocks, 70, dtype=None)] == [torch.bfloat16] * 2


def test_rows_held_back_survive_a_refilled_buffer() -> None:
    def blocks() -> Iterator[tuple[slice, Tensor]]:
        buffer = torch.empty(3, 1)
        for i in range(2):
            yield slice(3 * i, 3 * i + 3), buffer.fill_(i)

    assert torch.cat([group for _, group in aligned_groups(blocks(), 6)])[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "blocks", [[(slice(1, 3), torch.ones(2, 1))], [(slice(0, 3), torch.ones(2, 1))], [(slice(0, 1), torch.ones(2, 1))]]
)
def test_blocks_out_of_order_are_refused(blocks: list[tuple[slice, Tensor]]) -> None:
    with pytest.raises(ValueError, match="expected one from row 0, got rows"):
        list(aligned_groups(blocks, 3))


@pytest.mark.parametrize(("rows", "expected"), [(70, 60), (70, 80), (3, 2), (3, 4)])
def test_another_number_of_rows_is_refused(rows: int, expected: int) -> None:
    with pytest.raises(ValueError, match=f"one row for each of the direction's {expected} numbers, got"):
        list(aligned_groups([(slice(0, rows), torch.ones(rows, 2))], expected))
