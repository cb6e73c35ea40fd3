"""Residuals equal the hidden states of transformers, and at the last layer that layer's own output."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.batches import Budget, by_token_budget
from unwrite.models.discovery.padding import is_padding_sensitive
from unwrite.models.layers import decoder_layers, layer_output
from unwrite.models.residuals import extract_residuals, record_residuals

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
    "mpt",
    "opt",
]
MIXERS = {  # names of the zoo
    "softmax": ["llama", "qwen3_moe", "gpt_oss"],
    "sliding window": ["mistral", "gemma2", "gemma3_text", "gemma4_text"],
    "chunks": ["llama4_text"],
    "ALiBi": ["bloom", "mpt"],
    "learned positions": ["gpt2", "opt"],
    "latent": ["deepseek_v3"],
    "linear": ["qwen3_next", "qwen3_5_text", "kimi_linear", "minimax"],
    "state space": ["mamba", "mamba2", "falcon_mamba", "jamba", "bamba", "nemotron_h", "granitemoehybrid"],
    "state space, shared": ["zamba2", "falcon_h1"],
    "convolution": ["lfm2"],
    "gated linear recurrence": ["recurrent_gemma"],
    "time mixing": ["rwkv", "xlstm"],
}
EVERY_MIXER = [name for names in MIXERS.values() for name in names]
CORRUPTED = ["recurrent_gemma", "rwkv", "xlstm"]
IMAGE_TEXT = ["gemma3", "qwen2_vl", "qwen3_vl", "llava", "mistral3", "paligemma", "internvl", "qwen3_5"]


def alone(count: int) -> list[list[int]]:
    return [[row] for row in range(count)]


def furthest(actual: Tensor, expected: Tensor) -> float:
    """Return the largest relative distance between residuals of the same prompt, position and index."""
    return float(((actual - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


def extract(
    model: PreTrainedModel,
    positions: Sequence[int] = (-1,),
    batches: Sequence[Sequence[int]] | None = None,
    prompts: Sequence[Sequence[int]] = PROMPTS,
) -> Tensor:
    return extract_residuals(model, prompts, positions, batches=batches or alone(len(prompts)))


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_equal_hidden_states_and_finally_the_last_layers_output(kind: str) -> None:
    model = tiny_model(tiny_config(kind))
    actual = extract(model, [-1, -3])
    layers = decoder_layers(model)
    for row, tokens in enumerate(PROMPTS):
        last: list[Tensor] = []

        def keep(_module: nn.Module, _args: Any, output: Any, last: list[Tensor] = last) -> None:
            last.append(layer_output(output).clone())

        hook = layers[-1].register_forward_hook(keep)
        hidden = model(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states
        hook.remove()
        assert len(hidden) == actual.shape[2] == len(layers) + 1
        for column, position in enumerate((-1, -3)):
            for index in range(len(layers)):
                assert torch.equal(actual[row, column, index], hidden[index][0, position])
            assert torch.equal(actual[row, column, -1], last[0][0, position])
            # The control: the last hidden state of transformers has passed through the final norm.
            assert not torch.allclose(actual[row, column, -1], hidden[-1][0, position], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_length_batches_agree_with_single_prompts(kind: str) -> None:
    model = tiny_model(tiny_config(kind))
    single = extract(model, [-1, -2])
    for budget in (8, 14, 100):
        lengths = [len(tokens) for tokens in PROMPTS]
        batched = extract(model, [-1, -2], by_token_budget(lengths, budget, padding_sensitive=False))
        assert float((batched - single).norm() / single.norm()) < 1e-5
        assert batched.shape == single.shape == (len(PROMPTS), 2, 4, 32)


def test_default_is_the_last_token_in_passes_without_padding() -> None:
    model = tiny_model(tiny_config("llama"))
    masks: list[Tensor] = []
    hook = model.base_model.register_forward_pre_hook(
        lambda _m, _a, inputs: masks.append(inputs["attention_mask"]), with_kwargs=True
    )
    actual = extract_residuals(model, PROMPTS)
    hook.remove()
    assert [mask.shape for mask in masks] == [(2, 3), (1, 5), (1, 7)]
    assert all(mask.all() for mask in masks)
    assert furthest(actual, extract(model, [-1])) < 1e-5


@pytest.mark.parametrize("positions", [[], [0], [-1, 2]])
def test_positions_must_be_negative(positions: list[int]) -> None:
    with pytest.raises(ValueError, match=r"positions must be negative \(counted from the end\), got \["):
        extract(tiny_model(tiny_config("llama")), positions)


def test_prompts_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match="prompts must not be empty"):
        extract_residuals(tiny_model(tiny_config("llama")), [])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_residuals_have_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    assert extract(tiny_model(tiny_config("llama"), dtype)).dtype == dtype


def test_advance_counts_prompts() -> None:
    counts: list[int] = []
    extract_residuals(tiny_model(tiny_config("llama")), PROMPTS, batches=[[1, 3], [0], [2]], advance=counts.append)
    assert counts == [2, 1, 1]


@pytest.mark.parametrize("layer", [0, 2])
def test_nan_names_layer_and_prompt(layer: int) -> None:
    model = tiny_model(tiny_config("llama"))
    model.get_parameter(f"model.layers.{layer}.mlp.down_proj.weight")[5, 7] = torch.nan
    with pytest.raises(UnwriteError, match=rf"prompt at index 2 is NaN or infinite after layer {layer}\."):
        extract(model, batches=[[2], [0], [1], [3]])


def test_infinite_embedding_names_the_prompt() -> None:
    model = tiny_model(tiny_config("llama"))
    model.get_parameter("model.embed_tokens.weight")[24, 0] = torch.inf
    with pytest.raises(UnwriteError, match=r"prompt at index 2 is NaN or infinite after the embedding"):
        extract(model, batches=[[1, 3], [2], [0]])


def test_prompt_shorter_than_a_position_is_named() -> None:
    with pytest.raises(UnwriteError, match=r"prompt at index 1 has 3 tokens, but residuals.positions contains -4"):
        extract(tiny_model(tiny_config("llama")), [-1, -4])


def test_only_the_requested_positions_are_kept() -> None:
    model = tiny_model(tiny_config("llama"))
    with record_residuals(model, [-1, -2]) as records:
        for length in (9, 5):
            model.base_model(input_ids=torch.ones(2, length, dtype=torch.long), use_cache=False)
            assert [tuple(record.shape) for record in records] == [(2, 2, 32)] * 4
            numbers = [record.untyped_storage().nbytes() // record.element_size() for record in records]
            assert numbers == [2 * 2 * 32] * 4
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in decoder_layers(model))


def test_hooks_are_removed_when_the_pass_fails() -> None:
    model = tiny_model(tiny_config("llama"))
    with pytest.raises(IndexError), record_residuals(model, [-1]):
        model.base_model(input_ids=torch.tensor([[10_000]]))
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in decoder_layers(model))


def test_output_head_is_not_run() -> None:
    model = tiny_model(tiny_config("llama"))

    def fail(*_: Any) -> None:
        raise AssertionError("the output head ran")

    model.get_submodule("lm_head").register_forward_pre_hook(fail)
    assert extract(model).isfinite().all()


@pytest.mark.parametrize("name", EVERY_MIXER)
def test_batches_agree_with_single_prompts_for_every_mixer(name: str) -> None:
    """The batches are made as in the stages: of one length where padding changes what the model computes."""
    model = tiny_model(zoo_config(name))
    padding_sensitive = is_padding_sensitive(zoo_model(name, torch.float64))
    batches = by_token_budget([len(tokens) for tokens in PROMPTS], 100, padding_sensitive=padding_sensitive)
    assert len(batches) == (3 if padding_sensitive else 1)
    assert furthest(extract(model, [-1, -2], batches), extract(model, [-1, -2])) < 1e-5


@pytest.mark.parametrize("name", CORRUPTED)
def test_control_padding_changes_a_recurrent_state(name: str) -> None:
    model = tiny_model(zoo_config(name))
    assert furthest(extract(model, batches=[[0, 1, 2, 3]]), extract(model)) > 1e-3


@pytest.mark.parametrize("name", IMAGE_TEXT)
def test_image_text_models_run_on_text_alone(name: str) -> None:
    model = zoo_model(name)
    single = extract(model, [-1, -2])
    assert furthest(extract(model, [-1, -2], [[0, 1, 2, 3]]), single) < 1e-5
    for row, tokens in enumerate(PROMPTS):
        hidden = model(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states
        for index in range(len(decoder_layers(model))):
            torch.testing.assert_close(single[row, 0, index], hidden[index][0, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "norm"), [("mamba", "norm_f"), ("mamba2", "norm_f"), ("falcon_mamba", "norm_f"), ("rwkv", "ln_out")]
)
@torch.no_grad()
def test_index_i_plus_1_is_layer_i_even_if_transformers_counts_from_the_first_output(name: str, norm: str) -> None:
    model = tiny_model(zoo_config(name))
    actual = extract(model)
    for row, tokens in enumerate(PROMPTS):
        ids = torch.tensor([tokens])
        stream = model.get_input_embeddings()(ids)
        for index, layer in enumerate(decoder_layers(model)):
            torch.testing.assert_close(actual[row, 0, index], stream[0, -1])
            stream = layer_output(layer(stream))
        torch.testing.assert_close(actual[row, 0, -1], stream[0, -1])
        output = model.base_model(ids, use_cache=False, output_hidden_states=True)
        torch.testing.assert_close(model.base_model.get_submodule(norm)(stream), output.last_hidden_state)
        # The control: the hidden states of transformers begin one layer later.
        torch.testing.assert_close(actual[row, 0, 1], output.hidden_states[0][0, -1])
        assert not torch.allclose(actual[row, 0, 0], output.hidden_states[0][0, -1], rtol=0.01, atol=0.01)


def test_later_in_place_rescaling_does_not_change_the_record() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = extract(model)

    def wipe(_module: nn.Module, _args: Any, output: Any) -> None:
        layer_output(output).zero_()

    with torch.inference_mode(), record_residuals(model, [-1]) as records:
        hook = decoder_layers(model)[-1].register_forward_hook(wipe)  # runs after the recording hook
        output = model.base_model(input_ids=torch.tensor([PROMPTS[0]]), use_cache=False)
        hook.remove()
    assert not output.last_hidden_state.any()
    assert torch.equal(torch.stack(records)[:, 0, 0], expected[0, 0])


def test_inseparable_output_head_runs_on_one_token() -> None:
    model = zoo_model("llama4")
    assert model.base_model is model
    widths: list[int] = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _module, args: widths.append(args[0].shape[1]))
    extract(model)
    assert widths == [1] * len(PROMPTS)


def test_several_streams_are_refused() -> None:
    with pytest.raises(UnwriteError, match=r"keeps several streams \(shape \[2, 1, 7, 32\]\)"):
        extract(zoo_model("gemma3n_text"))


def test_batch_is_halved_when_memory_runs_out() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = extract(model)
    passes: list[int] = []

    def allocate(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        passes.append(args[0].shape[0])
        if passes[-1] > 2:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )

    hook = model.get_submodule("model.layers.1").register_forward_pre_hook(allocate)
    budget = Budget(100)
    counts: list[int] = []
    actual = extract_residuals(model, PROMPTS, batches=[[0, 1, 2, 3]], budget=budget, advance=counts.append)
    hook.remove()
    assert furthest(actual, expected) < 1e-5
    assert (passes, counts, budget.tokens) == ([4, 2, 2], [2, 2], 14)


def test_pass_keeps_only_the_positions() -> None:
    """While the last layer runs, only one vector per prompt remains of the earlier layers' outputs."""
    model = tiny_model(tiny_config("llama"))
    alive: list[weakref.ref[Tensor]] = []
    left: list[int] = []
    layers = decoder_layers(model)
    for layer in layers[:-1]:
        layer.register_forward_hook(lambda _m, _a, output: alive.append(weakref.ref(layer_output(output))))
    layers[-1].get_submodule("mlp").register_forward_hook(
        lambda _m, _a, _o: left.append(sum(reference() is not None for reference in alive))
    )
    extract(model, batches=[[0, 1, 2, 3]])
    assert len(alive) == 2
    assert left == [1]  # only the input of the last layer, however many layers there are
