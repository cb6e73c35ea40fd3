"""Greedy responses against a plain loop without cache or padding; teacher-forced logits against full passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
import torch

from tests.models.tiny import tiny_config, tiny_model
from unwrite.models.generation import end_tokens, generate_greedily, response_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30]]
KINDS = ["llama", "qwen3", "phi3", "starcoder2", "gpt_neox", "cohere", "lfm2"]


def plain(model: PreTrainedModel, prompt: Sequence[int], max_tokens: int, ends: Sequence[int] = ()) -> list[int]:
    """One token at a time, the whole sequence again each time."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(max_tokens):
            best = int(model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax())
            if best in ends:
                break
            tokens.append(best)
    return tokens[len(prompt) :]


def respond(
    model: PreTrainedModel, max_tokens: int = 8, batches: Sequence[Sequence[int]] = ((0, 1), (2, 3))
) -> list[list[int]]:
    return generate_greedily(model, PROMPTS, batches, max_tokens, lambda _: None)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_a_plain_loop(kind: str) -> None:
    model = tiny_model(tiny_config(kind))
    expected = [plain(model, prompt, 8) for prompt in PROMPTS]
    assert len({tuple(response) for response in expected}) > 1
    for batches in ([[0], [1], [2], [3]], [[3, 1, 2, 0]], [[1, 3], [0, 2]]):
        assert respond(model, 8, batches) == expected


@pytest.mark.parametrize("listed", [True, False])
def test_an_end_token_cuts_and_is_left_out(listed: bool) -> None:
    model = tiny_model(tiny_config("llama"))
    free = respond(model)
    end = free[0][3]
    model.generation_config.eos_token_id = [end, 95] if listed else end
    cut = respond(model)
    assert cut == [plain(model, prompt, 8, [end, 95] if listed else [end]) for prompt in PROMPTS]
    assert cut[0] == free[0][: free[0].index(end)]
    assert end not in [token for response in cut for token in response]


def test_a_response_that_ends_at_once_is_empty() -> None:
    model = tiny_model(tiny_config("llama"))
    model.generation_config.eos_token_id = respond(model)[1][0]
    assert respond(model)[1] == []


@pytest.mark.parametrize("max_tokens", [1, 2, 5])
def test_no_more_than_max_tokens(max_tokens: int) -> None:
    model = tiny_model(tiny_config("llama"))
    assert respond(model, max_tokens) == [response[:max_tokens] for response in respond(model)]
    assert {len(response) for response in respond(model, max_tokens)} == {max_tokens}


def test_sampling_settings_of_the_model_are_ignored() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = [plain(model, prompt, 8) for prompt in PROMPTS]
    common = [token for response in expected for token in response]
    settings = model.generation_config
    assert settings is not None
    settings.do_sample = True
    settings.temperature = 5.0
    settings.top_k = 3
    settings.top_p = 0.5
    settings.repetition_penalty = 1.9
    settings.no_repeat_ngram_size = 1
    settings.suppress_tokens = common[:4]
    settings.begin_suppress_tokens = common[:4]
    settings.bad_words_ids = [[common[0]]]
    settings.forced_eos_token_id = 7
    settings.min_new_tokens = 3
    settings.max_length = 5
    settings.max_new_tokens = 2
    settings.num_beams = 3
    torch.manual_seed(0)
    before = settings.to_dict()
    assert respond(model) == expected
    assert model.generation_config is settings
    assert settings.to_dict() == before


def test_the_models_own_settings_come_back_after_a_failure() -> None:
    model = tiny_model(tiny_config("llama"))
    settings = model.generation_config
    with pytest.raises(IndexError):
        generate_greedily(model, [[10_000]], [[0]], 2, lambda _: None)
    assert model.generation_config is settings


def test_no_end_token_anywhere() -> None:
    model = tiny_model(tiny_config("llama"))
    assert model.generation_config is not None
    assert model.generation_config.eos_token_id is None
    assert end_tokens(model) == []
    assert {len(response) for response in respond(model, 6)} == {6}


def test_the_generation_configs_end_tokens_come_first() -> None:
    model = tiny_model(tiny_config("llama"))
    model.config.eos_token_id = 5
    assert end_tokens(model) == [5]
    model.generation_config.eos_token_id = [6, 7]
    assert end_tokens(model) == [6, 7]


def test_advance_counts_prompts() -> None:
    counts: list[int] = []
    generate_greedily(tiny_model(tiny_config("llama")), PROMPTS, [[3], [0, 1, 2]], 2, counts.append)
    assert counts == [1, 3]


RESPONSES = [[40, 41, 42, 43, 44, 45], [50, 51, 52, 53], [60, 61], []]


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
        for place in range(mask.shape[1]):
            if mask[row, place]:
                torch.testing.assert_close(logits[row, place], full[len(prompt) - 1 + place], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("count", "counted"),
    [(1, [1, 1, 1, 1]), (2, [2, 2, 2, 1]), (4, [4, 4, 3, 1]), (6, [6, 5, 3, 1]), (7, [7, 5, 3, 1]), (9, [7, 5, 3, 1])],
)
def test_the_mask_covers_each_response_and_its_end_up_to_count(count: int, counted: list[int]) -> None:
    _, mask = response_logits(tiny_model(tiny_config("llama")), PROMPTS, RESPONSES, count)
    assert mask.sum(-1).tolist() == counted
    assert mask.tolist() == [[place < n for place in range(max(counted))] for n in counted]


def test_only_those_positions_go_through_the_output_head() -> None:
    model = tiny_model(tiny_config("llama"))
    widths = []
    model.get_submodule("lm_head").register_forward_hook(lambda _m, args, _o: widths.append(args[0].shape[1]))
    response_logits(model, PROMPTS, RESPONSES, 4)
    assert widths == [4]


def test_float32_whatever_the_model() -> None:
    model = tiny_model(tiny_config("llama"), torch.bfloat16)
    assert response_logits(model, PROMPTS, RESPONSES, 3)[0].dtype == torch.float32
