"""The decoder layers are found in order, and each one run alone repeats its output in the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.layers import (
    CalledLayer,
    capture_layers,
    decoder_layers,
    layer_output,
    run_model,
    stream_argument,
)

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


# Layers called by position and by keyword, that return tuples, write in place, or use what earlier ones computed.
@pytest.mark.parametrize(
    "name", ["llama", "gpt_neox", "bloom", "falcon", "gemma4_text", "gemma4_text_wide", "mamba2", "zamba", "gemma3"]
)
@torch.no_grad()
def test_layer_run_alone_repeats_its_output(name: str) -> None:
    model = zoo_model(name)
    captured = capture_layers(model, {"input_ids": TOKENS})
    assert [layer.module for layer in captured.layers] == decoder_layers(model)
    for layer, output in zip(captured.layers, captured.outputs, strict=True):
        before = layer.stream().clone()
        assert torch.equal(layer.run(), output)
        assert torch.equal(layer.run(), output)  # its arguments are unchanged
        assert torch.equal(layer.stream(), before)
        assert not torch.equal(output, before)
        assert model.get_submodule(layer.name) is layer.module
    for output, following in zip(captured.outputs, captured.layers[1:], strict=False):
        assert torch.equal(output, following.stream())


@pytest.mark.parametrize("name", ["llama", "bloom"])
@torch.no_grad()
def test_layer_runs_with_another_stream(name: str) -> None:
    layer = capture_layers(zoo_model(name), {"input_ids": TOKENS}).layers[0]
    other = layer.with_stream(layer.stream() + 1)
    assert torch.equal(other.stream(), layer.stream() + 1)
    assert not torch.equal(other.run(), layer.run())
    assert torch.equal(other.with_stream(layer.stream()).run(), layer.run())


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


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mllama", "does not run each of its 3 layers, in order: 2 ran"),
        ("xlnet", r"layer 0: the stream must be one vector per token, got shape \[5, 2, 32\] for \[2, 5\] tokens"),
        (
            "gemma3n_text",
            r"layer 0: the layers pass on 2 streams in another form .* \(shape \[2, 2, 5, 32\] for \[2, 5\] tokens\)",
        ),
    ],
)
def test_model_whose_stream_cannot_be_followed_is_refused(name: str, reason: str) -> None:
    with pytest.raises(UnwriteError, match=reason):
        capture_layers(zoo_model(name), {"input_ids": TOKENS})


class OfImages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Identity()])

    def forward(self, input_ids: Tensor, image: Tensor | None = None) -> None:
        if image is None:
            raise ValueError("give an image")
        self.layers[0](image[input_ids])


def test_model_that_needs_an_image_is_refused_and_its_hooks_removed() -> None:
    model = OfImages()
    with pytest.raises(UnwriteError, match=r"OfImages does not run on text alone \(give an image\)"):
        capture_layers(model, {"input_ids": TOKENS})
    assert not model.layers[0]._forward_hooks
    assert not model.layers[0]._forward_pre_hooks
    run_model(
        model, {"input_ids": TOKENS, "image": torch.ones(13, 4)}
    )  # run_model leaves out use_cache, which this model does not accept


def test_hooks_are_removed() -> None:
    model = tiny_model(tiny_config("llama"))
    capture_layers(model, {"input_ids": TOKENS})
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in decoder_layers(model))
