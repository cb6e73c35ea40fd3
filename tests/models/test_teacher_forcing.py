"""Teacher-forced logits equal those of full passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.tiny import tiny_config, tiny_model
from unwrite.models.teacher_forcing import response_logits

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30]]
RESPONSES = [[40, 41, 42, 43, 44, 45], [50, 51, 52, 53], [60, 61], []]
KINDS = ["llama", "qwen3", "phi3", "starcoder2", "gpt_neox", "cohere", "lfm2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_logits_equal_those_of_full_passes(kind: str, count: int) -> None:
    model = tiny_model(tiny_config(kind))
    logits, mask = response_logits(model, PROMPTS, RESPONSES, count)
    assert logits.dtype == torch.float32
    assert logits.shape[:2] == mask.shape
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        with torch.inference_mode():
            full = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0]
        # Position i predicts response token i, and after the last one its end.
        for position in range(mask.shape[1]):
            if mask[row, position]:
                torch.testing.assert_close(
                    logits[row, position], full[len(prompt) - 1 + position], rtol=1e-4, atol=1e-4
                )


@pytest.mark.parametrize(
    ("count", "counted"),
    [(1, [1, 1, 1, 1]), (2, [2, 2, 2, 1]), (4, [4, 4, 3, 1]), (6, [6, 5, 3, 1]), (7, [7, 5, 3, 1]), (9, [7, 5, 3, 1])],
)
def test_mask_covers_each_response_and_its_end_up_to_count(count: int, counted: list[int]) -> None:
    _, mask = response_logits(tiny_model(tiny_config("llama")), PROMPTS, RESPONSES, count)
    assert mask.sum(-1).tolist() == counted
    assert mask.tolist() == [[position < n for position in range(max(counted))] for n in counted]


def test_only_counted_positions_go_through_the_output_head() -> None:
    model = tiny_model(tiny_config("llama"))
    widths = []
    model.get_submodule("lm_head").register_forward_hook(lambda _m, args, _o: widths.append(args[0].shape[1]))
    response_logits(model, PROMPTS, RESPONSES, 4)
    assert widths == [4]


def test_logits_are_float32_for_every_model_dtype() -> None:
    model = tiny_model(tiny_config("llama"), torch.bfloat16)
    assert response_logits(model, PROMPTS, RESPONSES, 3)[0].dtype == torch.float32


def test_model_without_logits_to_keep_gives_the_same_logits() -> None:
    model = tiny_model(tiny_config("llama"))
    expected, mask = response_logits(model, PROMPTS, RESPONSES, 4)
    inner = model.forward

    def forward(input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Any:
        return inner(input_ids, attention_mask, position_ids)

    model.forward = forward
    logits, counted = response_logits(model, PROMPTS, RESPONSES, 4)
    torch.testing.assert_close(logits, expected)
    assert torch.equal(counted, mask)
