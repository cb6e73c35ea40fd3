"""A shared prefix changes nothing but the work: logits and responses equal those of whole prompts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import zoo_model
from unwrite.models.generation import generate_greedily
from unwrite.models.residuals import extract_residuals
from unwrite.models.shared_work import NOTHING_SHARED, SharedWork, prefix_cache, prompt_inputs, shared_tokens
from unwrite.models.teacher_forcing import response_logits

HEAD = [11, 12, 13, 14]
RESTS = [[3, 4, 5, 6, 7, 8, 9], [10], [20, 21, 22], [5, 6]]
PROMPTS = [[*HEAD, *rest] for rest in RESTS]
RESPONSES = [[30, 31, 32], [33], [34, 35], []]
ROWS = range(len(PROMPTS))


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        (PROMPTS, 4),
        ([[1, 2, 3], [1, 2, 3]], 2),  # a token of each prompt is left to run
        ([[1, 2], [1, 2, 3]], 1),
        ([[1, 2], [2, 2]], 0),
        ([[7]], 0),
    ],
)
def test_the_shared_tokens_leaves_a_token_of_each_prompt(prompts: list[list[int]], expected: int) -> None:
    assert shared_tokens(prompts) == prompts[0][:expected]


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "mixtral"])
def test_logits_behind_a_prefix_are_those_of_whole_prompts(name: str) -> None:
    model = zoo_model(name, torch.float32)
    expected, mask = response_logits(model, PROMPTS, RESPONSES, 4)
    cached = prefix_cache(model, SharedWork(HEAD), ROWS, 16)
    assert cached
    actual, same_mask = response_logits(model, PROMPTS, RESPONSES, 4, cached)
    assert torch.equal(mask, same_mask)
    torch.testing.assert_close(actual[mask], expected[mask], rtol=1e-4, atol=1e-4)
    # The control: behind another prefix they are not.
    other = prefix_cache(model, SharedWork([41, 42, 43, 44]), ROWS, 16)
    changed, _ = response_logits(model, PROMPTS, RESPONSES, 4, other)
    assert not torch.allclose(changed[mask], expected[mask], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("positions", [[-1], [-1, -3]])
def test_residuals_behind_a_prefix_are_those_of_whole_prompts(positions: list[int]) -> None:
    model = tiny_model(tiny_config("llama"))
    prompts = [[*HEAD, 9, 9, *rest] for rest in RESTS]
    prefix = shared_tokens(prompts, rest=-min(positions))
    assert len(prefix) == (6 if positions == [-1] else 4)
    expected = extract_residuals(model, prompts, positions)
    actual = extract_residuals(model, prompts, positions, batches=[[0, 1], [2, 3]], shared=SharedWork(prefix))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    other = extract_residuals(model, prompts, positions, batches=[[0, 1], [2, 3]], shared=SharedWork(prefix[::-1]))
    assert not torch.allclose(other, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("batches", [[[0, 1, 2, 3]], [[1, 3], [0, 2]]])
def test_responses_behind_a_prefix_are_those_of_whole_prompts(batches: list[list[int]]) -> None:
    model = tiny_model(tiny_config("llama"))
    expected = generate_greedily(model, PROMPTS, 8)
    widths: list[int] = []
    handle = model.base_model.register_forward_pre_hook(
        lambda _module, _args, named: widths.append(named["input_ids"].numel()), with_kwargs=True
    )
    assert generate_greedily(model, PROMPTS, 8, batches=batches, shared=SharedWork(HEAD)) == expected
    handle.remove()
    longest = [max(len(RESTS[row]) for row in batch) * len(batch) for batch in batches]
    assert widths[:2] == [len(HEAD), longest[0]]  # the prefix once, then only the rests


def test_rows_of_one_group_continue_one_copy_of_the_prefix() -> None:
    model = tiny_model(tiny_config("llama"))
    selected: list[Sequence[int]] = []
    cached = prefix_cache(model, SharedWork(HEAD, lambda row: row // 2), [3, 2, 1, 0], 16, selected.append)
    assert [{row // 2 for row in rows} for rows in selected] == [{0, 1}]  # one pass, one row of each group
    assert len(selected[0]) == 2
    (cache,) = cached.values()
    assert len(cache.layers[0].keys) == 4


def test_a_cache_that_forgets_tokens_is_not_shared() -> None:
    model = zoo_model("gemma2", torch.float32)
    window = model.config.sliding_window
    assert prefix_cache(model, SharedWork(HEAD), ROWS, window - 1)
    assert prefix_cache(model, SharedWork(HEAD), ROWS, window) == {}


def test_a_recurrent_state_is_not_shared() -> None:
    model = zoo_model("mamba", torch.float32)
    assert prefix_cache(model, SharedWork(HEAD), ROWS, 16) == {}
    expected = generate_greedily(model, PROMPTS, 4)
    assert generate_greedily(model, PROMPTS, 4, shared=SharedWork(HEAD)) == expected


def test_no_prefix_runs_no_pass() -> None:
    model = tiny_model(tiny_config("llama"))
    assert prefix_cache(model, NOTHING_SHARED, ROWS, 16, lambda _rows: pytest.fail("a pass")) == {}


def test_padding_stands_between_prefix_and_rest() -> None:
    model = tiny_model(tiny_config("llama"))
    cached = prefix_cache(model, SharedWork(HEAD), ROWS, 16)
    inputs, new = prompt_inputs(PROMPTS, cached, model.device)
    assert new == 7
    assert inputs["input_ids"][1].tolist() == [*HEAD, 0, 0, 0, 0, 0, 0, 10]
    assert inputs["attention_mask"][1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1]
    assert inputs["position_ids"][1].tolist()[-1] == 4
