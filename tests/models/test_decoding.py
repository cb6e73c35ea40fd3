"""The logits of each greedy decoding step equal those of a full pass."""

from __future__ import annotations

import torch

from tests.support.greedy import plain_response
from tests.support.tiny import tiny_config, tiny_model
from unwrite.models.decoding import greedy_logits

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30]]


def test_greedy_logits_are_those_of_each_step() -> None:
    model = tiny_model(tiny_config("llama"))
    for prompt, logits in zip(PROMPTS, greedy_logits(model, PROMPTS, 4), strict=True):
        assert logits.shape == (4, model.config.vocab_size)
        response = plain_response(model, prompt, 4)
        assert logits.argmax(-1).tolist() == response
        with torch.inference_mode():
            full = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0]
        torch.testing.assert_close(logits, full[len(prompt) - 1 : -1], rtol=1e-4, atol=1e-4)


def test_no_token_ends_greedy_logits() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = greedy_logits(model, PROMPTS, 4)
    model.generation_config.eos_token_id = expected[0].argmax(-1).tolist()
    assert torch.equal(greedy_logits(model, PROMPTS, 4), expected)
