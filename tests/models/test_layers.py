"""Layers: found in order, and each, run alone, does again what it did in the model."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.models.tiny import tiny_config, tiny_model
from unwrite.errors import UnwriteError
from unwrite.models.layers import capture_layers, decoder_layers

TOKENS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "bloom"])
@torch.no_grad()
def test_a_layer_run_alone_does_what_it_did(kind: str) -> None:
    model = tiny_model(tiny_config(kind))
    layers = capture_layers(model, {"input_ids": TOKENS})
    assert [layer.module for layer in layers] == decoder_layers(model)
    for layer, following in pairwise(layers):
        assert torch.equal(layer.run(), following.stream())
        assert model.get_submodule(layer.name) is layer.module


@torch.no_grad()
def test_a_layer_on_another_stream() -> None:
    layer = capture_layers(tiny_model(tiny_config("llama")), {"input_ids": TOKENS})[0]
    other = layer.on(layer.stream() + 1)
    assert torch.equal(other.stream(), layer.stream() + 1)
    assert not torch.equal(other.run(), layer.run())


def test_hooks_go() -> None:
    model = tiny_model(tiny_config("llama"))
    capture_layers(model, {"input_ids": TOKENS})
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in decoder_layers(model))


def test_no_decoder_stack_is_an_error() -> None:
    with pytest.raises(UnwriteError, match="Linear has no decoder stack"):
        decoder_layers(nn.Linear(2, 2))
