"""Several residual streams: what layers pass on is split, and the residual is their mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import random_direction
from tests.support.zoo import zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.layers import decoder_layers, layer_output
from unwrite.models.patching import added_to_stream, mapped_stream
from unwrite.models.residuals import extract_residuals
from unwrite.models.streams import Streams, count_streams, followed_streams, mean_of_streams, text_config

PROMPTS = [[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]]
SEVERAL = ["deepseek_v4", "hy_v4", "qwen4_exp_text", "glm5_next"]  # two each; in the third, side by side


def passed_on(model: nn.Module) -> list[Tensor]:
    """What goes into layer 0 and comes out of each layer, [batch, tokens, S, d]."""
    found: list[Tensor] = []
    layers = decoder_layers(model)
    hooks = [layers[0].register_forward_pre_hook(lambda _m, args: found.append(args[0].clone()))]
    hooks += [
        layer.register_forward_hook(lambda _m, _a, output: found.append(layer_output(output).clone()))
        for layer in layers
    ]
    with torch.no_grad():
        model(input_ids=torch.tensor(PROMPTS), use_cache=False)
    for hook in hooks:
        hook.remove()
    return [one.reshape(2, 5, -1, 32) for one in found]


@pytest.mark.parametrize("name", SEVERAL)
def test_the_residual_is_the_mean_of_the_streams(name: str) -> None:
    model = zoo_model(name)
    residuals = extract_residuals(model, PROMPTS, (-1, -3))
    streams = torch.stack([one[:, [-1, -3]] for one in passed_on(model)], 2)
    assert streams.shape[3] == 2
    torch.testing.assert_close(residuals, streams.mean(3), rtol=1e-4, atol=1e-5)
    assert float((residuals - streams[:, :, :, 0]).abs().max()) > 0.1  # control: not one of them
    embedded = model.get_input_embeddings()(torch.tensor(PROMPTS))
    torch.testing.assert_close(residuals[:, 0, 0], embedded[:, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SEVERAL)
def test_a_direction_is_added_to_the_mean_and_projected_out_of_every_stream(name: str) -> None:
    model, v = zoo_model(name), random_direction(32).float()
    plain = extract_residuals(model, PROMPTS)
    with added_to_stream(model, v, 1, 3.0):
        moved = extract_residuals(model, PROMPTS)
    torch.testing.assert_close(moved[:, :, 2], plain[:, :, 2] + 3 * v, rtol=1e-3, atol=1e-3)
    assert max(float((one @ v).abs().max()) for one in passed_on(model)) > 0.1
    with mapped_stream(model, lambda x: x - (x @ v).unsqueeze(-1) * v):
        assert max(float((one @ v).abs().max()) for one in passed_on(model)[1:]) < 1e-4  # hooked after the map


class Config:
    """A configuration of width 4."""

    hidden_size = 4


def of_width_4() -> nn.Module:
    model = nn.Module()
    model.config = Config()  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((2, 3, 4), 1),
        ((2, 3, 5), 1),  # of another width than the configuration says
        ((2, 3, 8), 2),
        ((2, 3, 6, 4), 6),
        ((2, 3, 6, 5), None),
        ((6, 2, 3, 4), None),
        ((3, 2, 4), None),
    ],
)
def test_streams_are_counted_by_shape(shape: tuple[int, ...], count: int | None) -> None:
    assert count_streams(of_width_4(), shape, (2, 3)) == count
    if len(shape) == 3 and count is not None:
        assert count_streams(nn.Module(), shape, (2, 3)) == 1  # no configuration: one of any width


def test_what_is_passed_on_is_split_by_the_tokens_of_the_pass() -> None:
    streams = Streams(of_width_4())
    streams.note_tokens(nn.Module(), (), {"input_ids": torch.zeros(2, 3, dtype=torch.long)})
    flat = torch.arange(48.0).reshape(2, 3, 8)
    assert torch.equal(streams.split(flat), flat.reshape(2, 3, 2, 4))
    assert streams.split(flat).data_ptr() == flat.data_ptr()
    assert streams.split(flat[..., :4]).shape == (2, 3, 1, 4)
    with pytest.raises(UnwriteError, match=r"Module keeps several streams \(shape \[4, 2, 3, 4\]\)"):
        streams.split(torch.zeros(4, 2, 3, 4))


def test_the_tokens_are_those_of_the_latest_pass_and_hooks_are_removed() -> None:
    model = zoo_model("hy_v4")
    with followed_streams(model, decoder_layers(model)[0]) as streams:
        for tokens in (5, 3):
            kept: list[Any] = []
            hook = decoder_layers(model)[0].register_forward_pre_hook(
                lambda _m, args, kept=kept: kept.append(streams.split(args[0]).shape)
            )
            model.base_model(input_ids=torch.ones(1, tokens, dtype=torch.long), use_cache=False)
            hook.remove()
            assert kept == [(1, tokens, 2, 32)]
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_single_stream_is_its_own_mean_bit_for_bit() -> None:
    x = torch.randn(2, 3, 1, 4, dtype=torch.bfloat16)
    assert torch.equal(mean_of_streams(x), x[:, :, 0])
    pair = torch.tensor([[256.0], [258.0]], dtype=torch.bfloat16)
    assert mean_of_streams(pair).tolist() == [256]  # 257, rounded to even


def test_the_configuration_is_that_of_the_text_part() -> None:
    assert text_config(zoo_model("glm5_next")).hidden_size == 32
    assert text_config(nn.Module()) is None
