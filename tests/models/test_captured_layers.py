"""Each layer of a run is captured with its arguments: run alone, it repeats its output in the model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.captured_layers import capture_layers, run_model
from unwrite.models.layers import decoder_layers

TOKENS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])


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
