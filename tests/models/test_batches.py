"""Batches hold every row once, within the budget; padding shifts no position; models get the inputs they accept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.batches import Budget, accepted_inputs, by_token_budget, left_padded, run_batches

LENGTHS = st.lists(st.integers(1, 50), max_size=60)


@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_every_row_is_batched_once(lengths: list[int], budget: int, equal: bool) -> None:
    batches = by_token_budget(lengths, budget, padding_sensitive=equal)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_padded_size_is_within_the_budget_or_the_row_is_alone(lengths: list[int], budget: int, equal: bool) -> None:
    for batch in by_token_budget(lengths, budget, padding_sensitive=equal):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(LENGTHS, st.integers(1, 200), st.booleans())
def test_rows_are_sorted_by_length_and_stay_in_order(lengths: list[int], budget: int, equal: bool) -> None:
    order = [row for batch in by_token_budget(lengths, budget, padding_sensitive=equal) for row in batch]
    assert order == sorted(order, key=lambda row: (lengths[row], row))


@given(LENGTHS, st.integers(1, 200))
def test_no_batch_has_room_for_the_next_row(lengths: list[int], budget: int) -> None:
    batches = by_token_budget(lengths, budget, padding_sensitive=False)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > budget


@given(LENGTHS, st.integers(1, 200))
def test_padding_sensitive_batches_have_one_length_each(lengths: list[int], budget: int) -> None:
    batches = by_token_budget(lengths, budget, padding_sensitive=True)
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


def test_batch_that_fits_exactly_is_not_split() -> None:
    assert by_token_budget([5, 3, 4], 15, padding_sensitive=False) == [[1, 2, 0]]
    assert by_token_budget([5, 3, 4], 14, padding_sensitive=False) == [[1, 2], [0]]


@given(st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=9), min_size=1, max_size=6))
def test_padding_is_on_the_left_and_shifts_no_position(prompts: list[list[int]]) -> None:
    inputs = left_padded(prompts, torch.device("cpu"))
    longest = max(map(len, prompts))
    for row, tokens in enumerate(prompts):
        padding = longest - len(tokens)
        assert inputs["input_ids"][row].tolist() == [0] * padding + tokens
        assert inputs["attention_mask"][row].tolist() == [0] * padding + [1] * len(tokens)
        assert inputs["position_ids"][row].tolist() == [0] * padding + list(range(len(tokens)))
    assert {tensor.dtype for tensor in inputs.values()} == {torch.long}


def test_inputs_are_on_the_given_device() -> None:
    assert {tensor.device.type for tensor in left_padded([[1]], torch.device("meta")).values()} == {"meta"}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 200), st.integers(1, 7))
def test_no_batch_has_more_rows_than_allowed(lengths: list[int], budget: int, most: int) -> None:
    batches = by_token_budget(lengths, budget, most, padding_sensitive=False)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) <= most for batch in batches)


class Recurrent(nn.Module):
    def forward(self, input_ids: Tensor, use_cache: bool = True) -> tuple[Tensor, bool]:
        return input_ids, use_cache


class Open(nn.Module):
    def forward(self, input_ids: Tensor, **rest: Any) -> tuple[Tensor, dict[str, Any]]:
        return input_ids, rest


def test_model_gets_only_the_inputs_it_accepts() -> None:
    inputs: dict[str, Any] = {**left_padded([[1, 2], [3]], torch.device("cpu")), "use_cache": False}
    assert list(accepted_inputs(Recurrent(), inputs)) == ["input_ids", "use_cache"]
    assert accepted_inputs(Open(), inputs) == inputs
    # The control: this model does not accept all of them.
    with pytest.raises(TypeError, match="attention_mask"):
        Recurrent()(**inputs)
    Recurrent()(**accepted_inputs(Recurrent(), inputs))


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("MPS backend out of memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:16])
def test_batch_that_does_not_fit_is_halved_and_the_budget_lowered(error: Exception) -> None:
    budget, tried = Budget(100), []
    done: list[int] = []

    def run(rows: Sequence[int]) -> None:
        tried.append(len(rows))
        if len(rows) > 3:
            raise error
        done.extend(rows)

    run_batches(run, [range(10), range(10, 20)], [7] * 20, budget)
    assert done == list(range(20))
    assert tried == [10, 5, *[2, 1, 2] * 4]
    assert budget.tokens == 17
    tried.clear()
    run_batches(run, [range(10)], [7] * 10, budget)  # a later call tries nothing that cannot fit
    assert max(tried) <= 2


def test_single_row_that_does_not_fit_is_an_error() -> None:
    def run(rows: Sequence[int]) -> None:
        if 2 in rows:
            raise torch.OutOfMemoryError

    with pytest.raises(
        UnwriteError, match=r"Memory ran out on a single prompt \(30 tokens, response included\)\. Lower max"
    ):
        run_batches(run, [[0, 1, 2]], [10, 20, 30], Budget())


def test_other_errors_are_not_retried() -> None:
    tried = []

    def run(rows: Sequence[int]) -> None:
        tried.append(rows)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        run_batches(run, [[0, 1]], [1, 1], Budget())
    assert tried == [[0, 1]]


@given(LENGTHS.filter(bool), st.integers(1, 200), st.integers(1, 200))
def test_every_row_runs_once_and_in_order_whatever_fits(lengths: list[int], start: int, room: int) -> None:
    done: list[int] = []

    def run(rows: Sequence[int]) -> None:
        if len(rows) > 1 and len(rows) * max(lengths[row] for row in rows) > room:
            raise torch.OutOfMemoryError
        done.extend(rows)

    batches = by_token_budget(lengths, start, padding_sensitive=False)
    run_batches(run, batches, lengths, Budget(start))
    assert done == [row for batch in batches for row in batch]
