"""Batches: every row once, within the budget; padding at the left that moves no position."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from unwrite.models.batches import by_token_budget, left_padded

LENGTHS = st.lists(st.integers(1, 50), max_size=60)


@given(LENGTHS, st.integers(1, 200))
def test_every_row_exactly_once(lengths: list[int], budget: int) -> None:
    batches = by_token_budget(lengths, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, st.integers(1, 200))
def test_the_padded_size_is_within_the_budget_or_the_row_is_alone(lengths: list[int], budget: int) -> None:
    for batch in by_token_budget(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(LENGTHS, st.integers(1, 200))
def test_shortest_first_and_equal_ones_in_order(lengths: list[int], budget: int) -> None:
    order = [row for batch in by_token_budget(lengths, budget) for row in batch]
    assert order == sorted(order, key=lambda row: (lengths[row], row))


@given(LENGTHS, st.integers(1, 200))
def test_no_batch_could_have_taken_the_next_row(lengths: list[int], budget: int) -> None:
    batches = by_token_budget(lengths, budget)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > budget


def test_a_batch_that_fits_exactly_is_one_batch() -> None:
    assert by_token_budget([5, 3, 4], 15) == [[1, 2, 0]]
    assert by_token_budget([5, 3, 4], 14) == [[1, 2], [0]]


@given(st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=9), min_size=1, max_size=6))
def test_padding_at_the_left(prompts: list[list[int]]) -> None:
    inputs = left_padded(prompts, torch.device("cpu"))
    longest = max(map(len, prompts))
    for row, tokens in enumerate(prompts):
        padding = longest - len(tokens)
        assert inputs["input_ids"][row].tolist() == [0] * padding + tokens
        assert inputs["attention_mask"][row].tolist() == [0] * padding + [1] * len(tokens)
        assert inputs["position_ids"][row].tolist() == [0] * padding + list(range(len(tokens)))
    assert {tensor.dtype for tensor in inputs.values()} == {torch.long}


def test_on_the_device_asked_for() -> None:
    assert {tensor.device.type for tensor in left_padded([[1]], torch.device("meta")).values()} == {"meta"}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 200), st.integers(1, 7))
def test_no_batch_has_more_rows_than_allowed(lengths: list[int], budget: int, most: int) -> None:
    batches = by_token_budget(lengths, budget, most_rows=most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) <= most for batch in batches)
