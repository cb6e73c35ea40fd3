"""The logits of each greedy decoding step equal those of a full pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.greedy import plain_response
from tests.support.tiny import tiny_config, tiny_model
from unwrite.models.decoding import DecodingBatch, greedy_logits

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


class RenamedOutput(dict[str, Any]):
    """An output that holds its cache under a new name and answers to earlier ones, as transformers does since 5.24."""

    @property
    def logits(self) -> Any:
        return self["logits"]

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__("cache" if key in {"past_key_values", "cache_params"} else key)

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in {"past_key_values", "cache_params"} else super().get(key, default)


def test_a_cache_with_several_names_is_reduced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(tiny_config("llama"))
    forward: Any = model.forward
    prepare: Any = model.prepare_inputs_for_generation

    def renamed(**inputs: Any) -> RenamedOutput:
        output = forward(**inputs)
        return RenamedOutput(logits=output.logits, cache=output.past_key_values)

    def prepared(cache: Any = None, **inputs: Any) -> Any:
        assert "past_key_values" not in inputs
        return prepare(**inputs, **({} if cache is None else {"past_key_values": cache}))

    expected = [plain_response(model, prompt, 3) for prompt in PROMPTS[1:3]]
    monkeypatch.setattr(model, "forward", renamed)
    monkeypatch.setattr(model, "prepare_inputs_for_generation", prepared)
    monkeypatch.setattr("unwrite.models.decoding.accepted_inputs", lambda _model, inputs: inputs)
    batch = DecodingBatch(model, PROMPTS)
    steps = [batch.next_logits().argmax(-1)]
    assert list(batch.cached) == ["cache"]
    batch.append(steps[0])
    assert batch.keep([1, 2])
    for _ in range(2):
        steps.append(batch.next_logits().argmax(-1))
        batch.append(steps[-1])
    assert torch.stack([steps[0][1:3], *steps[1:]], dim=1).tolist() == expected
