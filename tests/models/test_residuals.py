"""Residuals: equal to the hidden states of transformers up to the last layer, and to that layer's own output there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.tiny import tiny_config, tiny_model
from unwrite.errors import UnwriteError
from unwrite.models.batches import by_token_budget
from unwrite.models.layers import decoder_layers, layer_output
from unwrite.models.residuals import extract_residuals, recorded_residuals

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30, 31, 32]]
KINDS = [
    "llama",
    "qwen3",
    "phi3",
    "granite",
    "starcoder2",
    "gpt_neox",
    "cohere",
    "gemma",
    "bloom",
    "lfm2",
    "gpt_bigcode",
]


def alone(count: int) -> list[list[int]]:
    return [[row] for row in range(count)]


def extract(
    model: PreTrainedModel,
    positions: Sequence[int] = (-1,),
    batches: Sequence[Sequence[int]] | None = None,
    prompts: Sequence[Sequence[int]] = PROMPTS,
) -> Tensor:
    return extract_residuals(model, prompts, positions, batches or alone(len(prompts)), lambda _: None)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_hidden_states_and_at_the_end_to_the_last_layers_output(kind: str) -> None:
    model = tiny_model(tiny_config(kind))
    found = extract(model, [-1, -3])
    layers = decoder_layers(model)
    for row, tokens in enumerate(PROMPTS):
        last: list[Tensor] = []

        def keep(_module: nn.Module, _args: Any, output: Any, last: list[Tensor] = last) -> None:
            last.append(layer_output(output).clone())

        hook = layers[-1].register_forward_hook(keep)
        hidden = model(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states
        hook.remove()
        assert len(hidden) == found.shape[2] == len(layers) + 1
        for place, position in enumerate((-1, -3)):
            for index in range(len(layers)):
                assert torch.equal(found[place, row, index], hidden[index][0, position])
            assert torch.equal(found[place, row, -1], last[0][0, position])
            # The control: what transformers calls the last hidden state has been through the final norm.
            assert not torch.allclose(found[place, row, -1], hidden[-1][0, position], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_different_lengths_agree_with_prompts_by_themselves(kind: str) -> None:
    model = tiny_model(tiny_config(kind))
    one = extract(model, [-1, -2])
    for budget in (8, 14, 100):
        batched = extract(model, [-1, -2], by_token_budget([len(tokens) for tokens in PROMPTS], budget))
        assert float((batched - one).norm() / one.norm()) < 1e-5
        assert batched.shape == one.shape == (2, len(PROMPTS), 4, 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    assert extract(tiny_model(tiny_config("llama"), dtype)).dtype == dtype


def test_advance_counts_prompts() -> None:
    counts: list[int] = []
    extract_residuals(tiny_model(tiny_config("llama")), PROMPTS, [-1], [[1, 3], [0], [2]], counts.append)
    assert counts == [2, 1, 1]


@pytest.mark.parametrize("layer", [0, 2])
def test_nan_names_layer_and_prompt(layer: int) -> None:
    model = tiny_model(tiny_config("llama"))
    model.get_parameter(f"model.layers.{layer}.mlp.down_proj.weight")[5, 7] = torch.nan
    with pytest.raises(UnwriteError, match=rf"place 2 \(from 0\) after layer {layer} is NaN or infinite"):
        extract(model, batches=[[2], [0], [1], [3]])


def test_infinity_in_the_embedding_of_one_prompt() -> None:
    model = tiny_model(tiny_config("llama"))
    model.get_parameter("model.embed_tokens.weight")[24, 0] = torch.inf
    with pytest.raises(UnwriteError, match=r"place 2 \(from 0\) after the embedding"):
        extract(model, batches=[[1, 3], [2], [0]])


def test_a_prompt_shorter_than_a_position_is_named() -> None:
    with pytest.raises(UnwriteError, match=r"place 1 \(from 0\) has 3 tokens; .*the one 4 from the end"):
        extract(tiny_model(tiny_config("llama")), [-1, -4])


def test_only_the_asked_positions_are_kept() -> None:
    model = tiny_model(tiny_config("llama"))
    with recorded_residuals(model, [-1, -2]) as records:
        for length in (9, 5):
            model.base_model(input_ids=torch.ones(2, length, dtype=torch.long), use_cache=False)
            assert [tuple(record.shape) for record in records] == [(2, 2, 32)] * 4
            numbers = [record.untyped_storage().nbytes() // record.element_size() for record in records]
            assert numbers == [2 * 2 * 32] * 4
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in decoder_layers(model))


def test_hooks_go_when_the_pass_fails() -> None:
    model = tiny_model(tiny_config("llama"))
    with pytest.raises(IndexError), recorded_residuals(model, [-1]):
        model.base_model(input_ids=torch.tensor([[10_000]]))
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in decoder_layers(model))


def test_the_output_head_is_not_run() -> None:
    model = tiny_model(tiny_config("llama"))

    def fail(*_: Any) -> None:
        raise AssertionError("the output head ran")

    model.get_submodule("lm_head").register_forward_pre_hook(fail)
    assert extract(model).isfinite().all()
