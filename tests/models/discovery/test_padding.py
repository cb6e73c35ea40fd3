"""Padding changes some mixers and not others; every way in which it can is noticed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.zoo import zoo_model
from unwrite.models.decoding import greedy_logits
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.discovery.padding import is_padding_sensitive
from unwrite.models.layers import decoder_layers, layer_output
from unwrite.models.teacher_forcing import response_logits

IMMUNE = [
    "llama",
    "gemma2",
    "llama4_text",
    "gpt_oss",
    "bloom",
    "mpt",
    "opt",
    "deepseek_v3",
    "qwen3_next",
    "kimi_linear",
    "mamba",
    "mamba2",
    "falcon_mamba",
    "jamba",
    "bamba",
    "nemotron_h",
    "zamba2",
    "granitemoehybrid",
    "falcon_h1",
    "lfm2",
    "gemma3",
    "qwen2_vl",
]
SENSITIVE = ["recurrent_gemma", "rwkv", "xlstm", "deepseek_v4", "minimax", "paligemma"]
SHORT, LONG = [3, 4, 5], [6, 7, 8, 9, 10, 11, 12, 13]


@pytest.mark.parametrize("name", IMMUNE)
def test_padding_is_masked_out(name: str) -> None:
    assert not is_padding_sensitive(zoo_model(name, torch.float64))


@pytest.mark.parametrize("name", SENSITIVE)
def test_padding_changes_the_output(name: str) -> None:
    assert is_padding_sensitive(zoo_model(name, torch.float64))


def change(measure: Callable[[list[list[int]]], torch.Tensor]) -> torch.Tensor:
    alone, padded = measure([SHORT])[0], measure([SHORT, LONG])[0]
    relative: torch.Tensor = (padded - alone).norm(dim=-1) / alone.norm(dim=-1)
    return relative


def test_minimax_masks_padding_in_one_pass_but_not_in_its_cache() -> None:
    """This is the reason why both are measured."""
    model = zoo_model("minimax", torch.float64)
    with float64_throughout():
        at_once = change(lambda prompts: response_logits(model, prompts, [[20, 21, 22]] * len(prompts), 3)[0])
        generated = change(lambda prompts: greedy_logits(model, prompts, 3))
    assert at_once.max() < 1e-5
    assert generated[0] < 1e-5
    assert generated[1] > 1e-3


def test_attention_of_loaded_models_is_measured_and_the_model_keeps_its_own() -> None:
    """Without padding, PaliGemma gets no mask, and then only `eager` ignores later tokens."""
    model = zoo_model("paligemma", torch.float64)
    with float64_throughout():
        by_eager = change(lambda prompts: response_logits(model, prompts, [[20]] * len(prompts), 1)[0])
    assert by_eager.max() < 1e-6
    assert is_padding_sensitive(model)
    assert model.config._attn_implementation == "eager"


def test_convolution_without_a_mask_is_sensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers.models.lfm2.modeling_lfm2 as lfm2

    monkeypatch.setattr(lfm2, "apply_mask_to_padding_states", lambda states, _mask: states)
    assert is_padding_sensitive(zoo_model("lfm2", torch.float64))


def wrapped(model: nn.Module, around: Callable[..., Any]) -> None:
    """Put a function between the model's caller and its forward."""
    inner = model.forward

    @wraps(inner)  # generation inspects its signature
    def forward(input_ids: Any = None, attention_mask: Any = None, **rest: Any) -> Any:
        return around(inner, input_ids, attention_mask, rest)

    model.forward = forward


def has_padding(mask: torch.Tensor | None) -> bool:
    return mask is not None and not bool(mask.all())


def test_control_wrapper_alone_changes_nothing() -> None:
    model = zoo_model("llama", torch.float64)
    wrapped(model, lambda inner, ids, mask, rest: inner(ids, mask, **rest))
    assert not is_padding_sensitive(model)


def test_model_without_a_mask_is_sensitive() -> None:
    model = zoo_model("llama", torch.float64)
    wrapped(model, lambda inner, ids, _mask, rest: inner(ids, **rest))
    assert is_padding_sensitive(model)


@pytest.mark.parametrize("error", [ValueError, RuntimeError, NotImplementedError, AssertionError])
def test_model_that_refuses_padding_is_sensitive(error: type[Exception]) -> None:
    def refuse(inner: Any, ids: Any, mask: Any, rest: Any) -> Any:
        if has_padding(mask):
            raise error("only rows of one length")
        return inner(ids, mask, **rest)

    model = zoo_model("llama", torch.float64)
    wrapped(model, refuse)
    assert is_padding_sensitive(model)


def test_nan_counts_as_a_change() -> None:
    def spoil(inner: Any, ids: Any, mask: Any, rest: Any) -> Any:
        output = inner(ids, mask, **rest)
        if has_padding(mask):
            output.logits = output.logits * torch.nan
        return output

    model = zoo_model("llama", torch.float64)
    wrapped(model, spoil)
    assert is_padding_sensitive(model)


def test_nan_at_padding_alone_is_not_a_change() -> None:
    """Attention that sees only padding may give NaN, which does not reach the tokens of a prompt."""
    spoiled: list[torch.Tensor] = []

    def spoil(inner: Any, ids: Any, mask: Any, rest: Any) -> Any:
        def at_padding(_module: nn.Module, _args: Any, output: Any) -> None:
            stream = layer_output(output)
            if has_padding(mask) and stream.shape[1] == mask.shape[1]:  # not where one token is added to the cache
                spoiled.append(stream.masked_fill_(mask[..., None] == 0, torch.nan))

        with torch.inference_mode():
            hook = decoder_layers(model)[-1].register_forward_hook(at_padding)
            output = inner(ids, mask, **rest)
            hook.remove()
        return output

    model = zoo_model("llama", torch.float64)
    wrapped(model, spoil)
    assert not is_padding_sensitive(model)
    assert spoiled
    assert all(stream.isnan().any() for stream in spoiled)


def test_positions_that_count_padding_are_noticed() -> None:
    def from_zero(inner: Any, ids: Any, mask: Any, rest: Any) -> Any:
        if has_padding(mask):
            rest["position_ids"] = torch.arange(mask.shape[1] - ids.shape[1], mask.shape[1]).expand(ids.shape)
        return inner(ids, mask, **rest)

    model = zoo_model("gpt2", torch.float64)
    assert not is_padding_sensitive(model)
    wrapped(model, from_zero)
    assert is_padding_sensitive(model)
