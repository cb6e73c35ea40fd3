"""Batches: every row once, within the budget; padding at the left that moves no position; inputs a model takes."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unwrite.models.batches import accepted, by_token_budget, left_padded

LENGTHS = st.lists(st.integers(1, 50), max_size=60)


@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_every_row_exactly_once(lengths: list[int], budget: int, equal: bool) -> None:
    batches = by_token_budget(lengths, budget, equal_lengths=equal)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_the_padded_size_is_within_the_budget_or_the_row_is_alone(lengths: list[int], budget: int, equal: bool) -> None:
    for batch in by_token_budget(lengths, budget, equal_lengths=equal):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_shortest_first_and_equal_ones_in_order(lengths: list[int], budget: int, equal: bool) -> None:
    order = [row for batch in by_token_budget(lengths, budget, equal_lengths=equal) for row in batch]
    assert order == sorted(order, key=lambda row: (lengths[row], row))


@given(LENGTHS, st.integers(1, 200))
def test_no_batch_could_have_taken_the_next_row(lengths: list[int], budget: int) -> None:
    batches = by_token_budget(lengths, budget, equal_lengths=False)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > budget


@given(LENGTHS, st.integers(1, 200))
def test_with_equal_lengths_each_length_is_batched_as_if_there_were_no_other(lengths: list[int], budget: int) -> None:
    batches = by_token_budget(lengths, budget, equal_lengths=True)
    assert all(len({lengths[row] for row in batch}) == 1 for batch in batches)
    by_length = groupby(sorted(range(len(lengths)), key=lambda row: (lengths[row], row)), key=lambda row: lengths[row])
    expected = []
    for length, group in by_length:
        rows, most = list(group), max(1, budget // length)
        expected += [rows[start : start + most] for start in range(0, len(rows), most)]
    assert batches == expected


@given(st.lists(st.lists(st.integers(1, 90), min_size=4, max_size=4), min_size=1, max_size=6))
def test_prompts_of_one_length_are_not_padded(prompts: list[list[int]]) -> None:
    inputs = left_padded(prompts, torch.device("cpu"))
    assert inputs["input_ids"].tolist() == prompts
    assert inputs["attention_mask"].all()
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3]] * len(prompts)


def test_a_batch_that_fits_exactly_is_one_batch() -> None:
    assert by_token_budget([5, 3, 4], 15, equal_lengths=False) == [[1, 2, 0]]
    assert by_token_budget([5, 3, 4], 14, equal_lengths=False) == [[1, 2], [0]]


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
    batches = by_token_budget(lengths, budget, most, equal_lengths=False)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) <= most for batch in batches)


class Recurrent(nn.Module):
    def forward(self, input_ids: Tensor, use_cache: bool = True) -> tuple[Tensor, bool]:
        return input_ids, use_cache


class Open(nn.Module):
    def forward(self, input_ids: Tensor, **rest: Any) -> tuple[Tensor, dict[str, Any]]:
        return input_ids, rest


def test_a_model_is_given_what_it_takes() -> None:
    inputs: dict[str, Any] = {**left_padded([[1, 2], [3]], torch.device("cpu")), "use_cache": False}
    assert list(accepted(Recurrent(), inputs)) == ["input_ids", "use_cache"]
    assert accepted(Open(), inputs) == inputs
    # The control: not all of it can be given to every model.
    with pytest.raises(TypeError, match="attention_mask"):
        Recurrent()(**inputs)
    Recurrent()(**accepted(Recurrent(), inputs))
