"""The decoder layers of a model are found in order, with the stream that goes into and comes out of each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.captured_layers import CalledLayer
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.layers import decoder_layers, layer_output, stream_argument

TOKENS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])

STACKS = {  # name in the zoo: path of its layers
    "llama": "model.layers",
    "gpt2": "transformer.h",
    "opt": "model.decoder.layers",
    "dbrx": "transformer.blocks",
    "mixtral": "model.layers",  # experts are lists of modules, too
    "jamba": "model.layers",
    "xlstm": "backbone.blocks",
    "gemma3": "model.language_model.layers",  # and not the vision tower's
    "qwen3_vl": "model.language_model.layers",
    "llama4": "model.layers",
}


@pytest.mark.parametrize("name", STACKS)
def test_stack_is_that_of_the_decoder(name: str) -> None:
    model = zoo_model(name)
    stack = model.get_submodule(STACKS[name])
    assert isinstance(stack, nn.ModuleList)
    assert decoder_layers(model) == list(stack)


def test_larger_vision_tower_is_not_taken_for_the_decoder() -> None:
    config: Any = zoo_config("qwen2_5_vl")
    config.vision_config.intermediate_size = 4000
    model: Any = build_on_meta(config)
    stacks = [model.model.visual.blocks, model.model.language_model.layers]
    sizes = [sum(parameter.numel() for parameter in stack.parameters()) for stack in stacks]
    assert sizes[0] > sizes[1]
    assert decoder_layers(model) == list(stacks[1])


def test_encoder_wider_than_a_miniature_is_not_taken_for_the_decoder() -> None:
    config: Any = zoo_config("phi4_multimodal")
    config.audio_config.intermediate_size = 4000
    model: Any = build_on_meta(config)
    text = list(model.model.layers)
    audio = next(list(stack) for name, stack in model.named_modules() if name.endswith("audio_embed.encoder.encoders"))
    sizes = [sum(parameter.numel() for layer in stack for parameter in layer.parameters()) for stack in (text, audio)]
    assert sizes[0] < sizes[1]
    assert decoder_layers(model) == text
    model.config.num_hidden_layers += 1  # control: nothing fits, and the larger one is taken
    assert decoder_layers(model) == audio


def test_missing_decoder_stack_is_an_error() -> None:
    with pytest.raises(UnwriteError, match=r"Linear has no decoder stack\. Use a decoder-only model\."):
        decoder_layers(nn.Linear(2, 2))


def test_stream_is_the_first_floating_point_tensor() -> None:
    mask, stream, other = torch.ones(2, dtype=torch.bool), torch.randn(2), torch.randn(2)
    assert stream_argument((mask, None, stream, other), {}) is stream
    assert stream_argument((), {"mask": mask, "hidden_states": stream, "other": other}) is stream
    layer = CalledLayer("layer", nn.Identity(), (mask,), {"hidden_states": stream, "other": other}).with_stream(other)
    assert layer.kwargs == {"hidden_states": other, "other": other}
    with pytest.raises(UnwriteError, match="called without a floating-point tensor"):
        stream_argument((mask,), {"cache": None})


def test_stream_may_be_the_first_of_several_outputs() -> None:
    stream = torch.randn(2)
    assert layer_output(stream) is stream
    assert layer_output((stream, None)) is stream
    assert layer_output([stream]) is stream
