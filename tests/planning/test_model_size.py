"""Sizes read off a configuration are those of the model that is built from it, and of the cache that it fills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.layers import decoder_layers
from unwrite.models.loading import load_model
from unwrite.models.quantized import is_quantized
from unwrite.planning.model_size import count, matrices, model_size
from unwrite.terms import Quantization


@pytest.mark.parametrize("name", ["llama", "qwen3", "mixtral"])
def test_sizes_are_those_of_the_model(name: str) -> None:
    model, size = zoo_model(name), model_size(zoo_config(name))
    layers = decoder_layers(model)
    assert size.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert size.largest_layer == max(map(count, layers))
    assert size.layers == len(layers)
    widths = [width for layer in layers for weight in matrices(layer) for width in weight.shape[-2:]]
    assert size.widest == max(widths)
    with torch.inference_mode():
        output = model(torch.arange(10)[None], use_cache=True)
    assert output.logits.shape[-1] == size.vocabulary
    cached = sum(tensor.numel() for layer in output.past_key_values.layers for tensor in (layer.keys, layer.values))
    assert cached == 10 * size.cached


def test_what_a_window_keeps_is_less_than_what_is_counted() -> None:
    with torch.inference_mode():
        output = zoo_model("gemma2")(torch.arange(10)[None], use_cache=True)
    cached = sum(tensor.numel() for layer in output.past_key_values.layers for tensor in (layer.keys, layer.values))
    assert cached < 10 * model_size(zoo_config("gemma2")).cached


def test_tied_weights_count_once() -> None:
    tied, apart = (model_size(tiny_config("llama", tie_word_embeddings=tie)) for tie in (True, False))
    assert apart.parameters - tied.parameters == apart.vocabulary * apart.hidden
    assert tiny_model(tiny_config("llama")).num_parameters() == model_size(tiny_config("llama")).parameters


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
def test_quantized_weights_count_as_they_are_stored(kind: str, quantization: Quantization, tmp_path: Path) -> None:
    wide = "n_inner" if kind == "gpt2" else "intermediate_size"
    config = tiny_config(kind, hidden_size=64, **{wide: 128})
    tiny_model(config).save_pretrained(tmp_path)
    model, size = load_model(tmp_path, "float32", "cpu", quantization), model_size(config, quantization)
    stored = sum(parameter.nbytes for parameter in model.parameters())
    for module in filter(is_quantized, model.modules()):
        weight: Any = module.get_parameter("weight")
        state = getattr(weight, "quant_state", None)
        scales = [weight.SCB] if state is None else [state.absmax, state.state2.absmax]
        stored += sum(tensor.nbytes for tensor in scales)
    assert size.packed > 0.5 * (size.parameters - size.vocabulary * size.hidden)
    assert size.weight_bytes(4) == stored
    assert size.weight_bytes(4) < 4 * size.parameters == model_size(config).weight_bytes(4)


def test_an_encoder_is_refused() -> None:
    from transformers import T5Config

    with pytest.raises(UnwriteError, match="has an encoder and a decoder"):
        model_size(T5Config())
