"""The error names the first layer whose output is not finite."""

from __future__ import annotations

import pytest
import torch

from tests.support.tiny import tiny_config, tiny_model
from unwrite.errors import UnwriteError
from unwrite.models.generation import generate_decided
from unwrite.models.nonfinite import non_finite_error

PLACES = {
    "model.embed_tokens.weight": "The embedding",
    "model.layers.0.self_attn.o_proj.weight": "Layer 0",
    "model.layers.1.mlp.down_proj.weight": "Layer 1",
    "model.layers.2.mlp.down_proj.weight": "Layer 2",
    "model.norm.weight": "The output head",
    "lm_head.weight": "The output head",
}


@pytest.mark.parametrize(("parameter", "place"), PLACES.items())
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_first_non_finite_output_is_named(parameter: str, place: str, value: float) -> None:
    model = tiny_model(tiny_config("llama", tie_word_embeddings=False))
    model.get_parameter(parameter).data.fill_(value)
    message = str(non_finite_error(model, [3, 4, 5], 7))
    assert message.startswith(f"{place} outputs NaN or infinity for the prompt at index 7. Lower the")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_token_with_a_nan_embedding_stops_generation_when_it_is_read() -> None:
    model = tiny_model(tiny_config("llama", tie_word_embeddings=False))
    free = generate_decided(model, [[3, 4], [5, 6]], [[0, 1]], 4, lambda _row, _response: False)
    model.get_parameter("model.embed_tokens.weight").data[free[1][0]] = torch.nan
    passes: list[list[int]] = []
    with pytest.raises(UnwriteError, match=r"The embedding .* at index 1\."):
        generate_decided(
            model,
            [[3, 4], [5, 6]],
            [[0, 1]],
            4,
            lambda _row, _response: False,
            before_pass=lambda rows: passes.append(list(rows)),
        )
    assert passes == [[0, 1], [0, 1], [1]]  # the last pass locates the layer


def test_tokens_at_minus_infinity_are_allowed() -> None:
    model = tiny_model(tiny_config("llama"))
    never = torch.zeros(model.config.vocab_size)
    never[:48] = -torch.inf
    model.get_submodule("lm_head").register_forward_hook(lambda _module, _args, logits: logits + never)
    (response,) = generate_decided(model, [[3, 4]], [[0]], 4, lambda _row, _response: False)
    assert min(response) >= 48
