"""Writers: the exact set on each architecture, the proof on a full model with its control, and every refusal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.tiny import random_direction, tiny_config, tiny_model
from unwrite.core.edit import edit_bias, edit_weight
from unwrite.errors import UnwriteError
from unwrite.models import writers as writers_module
from unwrite.models.layers import decoder_layers, layer_output
from unwrite.models.miniature import VOCABULARY
from unwrite.models.writers import Discovery, FoundWriter, find_writers

PLAIN = ("model.layers", "self_attn.o_proj", "mlp.down_proj")
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 5e5}
NEOX = ("gpt_neox.layers", "attention.dense", "mlp.dense_4h_to_h")
# model type, what is changed in its config, (stack, attention writer, MLP writer), biases, multiplier
SUPPORTED: dict[str, tuple[str, dict[str, Any], tuple[str, str, str], bool, float]] = {
    "llama": ("llama", {}, PLAIN, False, 1.0),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}, PLAIN, True, 1.0),
    "llama with one key-value head": ("llama", {"num_key_value_heads": 1}, PLAIN, False, 1.0),
    "llama, wide heads": ("llama", {"head_dim": 24}, PLAIN, False, 1.0),
    "llama, one layer": ("llama", {"num_hidden_layers": 1}, PLAIN, False, 1.0),
    "llama, tied embeddings": ("llama", {"tie_word_embeddings": True}, PLAIN, False, 1.0),
    "llama, padding token at the end": ("llama", {"pad_token_id": 95, "eos_token_id": [94, 95]}, PLAIN, False, 1.0),
    "llama3 rotary scaling": (
        "llama",
        {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 64}},
        PLAIN,
        False,
        1.0,
    ),
    "yarn": (
        "qwen2",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 2.0,
                "rope_theta": 1e4,
                "original_max_position_embeddings": 64,
            }
        },
        PLAIN,
        False,
        1.0,
    ),
    "dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
        PLAIN,
        False,
        1.0,
    ),
    "longrope": (
        "phi3",
        {
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.5,
                "short_factor": [1.0, 1.5],
                "long_factor": [2.0, 4.0],
                "original_max_position_embeddings": 64,
            },
            "original_max_position_embeddings": 64,
        },
        PLAIN,
        False,
        1.0,
    ),
    "mistral": ("mistral", {"sliding_window": 8}, PLAIN, False, 1.0),
    "ministral3": ("ministral3", {}, PLAIN, False, 1.0),
    "qwen2": ("qwen2", {}, PLAIN, False, 1.0),
    "qwen3": ("qwen3", {}, PLAIN, False, 1.0),
    "smollm3": ("smollm3", {}, PLAIN, False, 1.0),
    "phi3": ("phi3", {}, PLAIN, False, 1.0),
    "granite": ("granite", {"residual_multiplier": 0.22}, PLAIN, False, 0.22),
    "starcoder2": ("starcoder2", {}, ("model.layers", "self_attn.o_proj", "mlp.c_proj"), True, 1.0),
    "gpt_neox": ("gpt_neox", {}, NEOX, True, 1.0),
    "gpt_neox, one after the other": ("gpt_neox", {"use_parallel_residual": False}, NEOX, True, 1.0),
    "stablelm": ("stablelm", {}, PLAIN, False, 1.0),
    "stablelm, parallel": ("stablelm", {"use_parallel_residual": True}, PLAIN, False, 1.0),
    "cohere": ("cohere", {}, PLAIN, False, 1.0),
    "gemma": ("gemma", {"head_dim": 8}, PLAIN, False, 1.0),
    "cwm, no null token": ("cwm", {"bos_token_id": 2, "pad_token_id": 3, "eos_token_id": [4]}, PLAIN, False, 1.0),
    "bloom, attention biased by position": (
        "bloom",
        {},
        ("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h"),
        True,
        1.0,
    ),
    "positions learned": ("gpt_bigcode", {}, ("transformer.h", "attn.c_proj", "mlp.c_proj"), True, 1.0),
    "convolution for attention": (
        "lfm2",
        {"layer_types": ["conv", "conv", "conv"]},
        ("model.layers", "conv.out_proj", "feed_forward.w2"),
        False,
        1.0,
    ),
}


def examined(case: str) -> tuple[Any, Discovery]:
    kind, changes, *_ = SUPPORTED[case]
    return tiny_config(kind, **changes), find_writers(tiny_config(kind, **changes))


@pytest.mark.parametrize("case", SUPPORTED)
def test_the_writers_are_exactly_these(case: str) -> None:
    config, found = examined(case)
    *_, (stack, attention, mlp), bias, multiplier = SUPPORTED[case]
    expected = {
        (f"{stack}.{layer}.{name}", layer, component, bias)
        for layer in range(config.num_hidden_layers)
        for name, component in ((attention, "attention"), (mlp, "mlp"))
    }
    assert {(w.module, w.layer, w.component, w.has_bias) for w in found.writers} == expected
    assert len(found.writers) == len(expected)
    assert [w.multiplier for w in found.writers] == pytest.approx([multiplier] * len(expected), rel=1e-6)
    assert found.completeness < 1e-5
    assert found.layers == config.num_hidden_layers


@pytest.mark.parametrize("case", SUPPORTED)
def test_nothing_is_written_along_the_direction_once_every_writer_is_edited(case: str) -> None:
    config, found = examined(case)
    v = random_direction(config.hidden_size)
    model = tiny_model(config, torch.float64)
    for writer in found.writers:
        ablate(model, writer, v)
    assert written_along(model, v) < 1e-9


@pytest.mark.parametrize("left_out", [0, 1, -1])
@pytest.mark.parametrize("case", ["llama", "granite", "gpt_neox", "cohere"])
def test_control_leaving_one_writer_out_leaves_the_direction(case: str, left_out: int) -> None:
    config, found = examined(case)
    v = random_direction(config.hidden_size)
    model = tiny_model(config, torch.float64)
    for writer in found.writers:
        if writer != found.writers[left_out]:
            ablate(model, writer, v)
    assert written_along(model, v) > 1e-3


@pytest.mark.parametrize("case", ["starcoder2", "gpt_neox"])
def test_control_leaving_the_biases_out_leaves_the_direction(case: str) -> None:
    config, found = examined(case)
    v = random_direction(config.hidden_size)
    model = tiny_model(config, torch.float64)
    for writer in found.writers:
        ablate(model, writer._replace(has_bias=False), v)
    assert written_along(model, v) > 1e-3


def ablate(model: nn.Module, writer: FoundWriter, v: Tensor) -> None:
    module = model.get_submodule(writer.module)
    assert isinstance(module, nn.Linear)
    module.weight.copy_(edit_weight(module.weight, v, 1.0, "none"))
    if writer.has_bias:
        module.bias.copy_(edit_bias(module.bias, v, 1.0))


def written_along(model: Any, v: Tensor) -> float:
    """The largest |v·(h_out − s·h_in)| over layers, s = 1, on random input to the stack."""
    most = 0.0

    def watch(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        nonlocal most
        stream = args[0] if args else kwargs["hidden_states"]
        most = max(most, float(((layer_output(output) - stream) @ v).abs().max()))

    for layer in decoder_layers(model):
        layer.register_forward_hook(watch, with_kwargs=True)
    model(inputs_embeds=torch.randn(2, 9, len(v), generator=torch.Generator().manual_seed(7)).double(), use_cache=False)
    return most


# model type, what is changed in its config, and what the reason names
REFUSED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "gpt2": ("gpt2", {}, ["GPT2LMHeadModel", "attn.c_proj", "Conv1D", "in part"]),
    "gemma2": ("gemma2", {}, ["Gemma2ForCausalLM", "post_attention_layernorm", "Gemma2RMSNorm", "in part"]),
    "olmo2": ("olmo2", {}, ["Olmo2ForCausalLM", "post_attention_layernorm", "Olmo2RMSNorm", "in part"]),
    "mixtral": ("mixtral", {}, ["MixtralForCausalLM", "mlp.experts", "MixtralExperts", "in part"]),
    "qwen3_moe": (
        "qwen3_moe",
        {"moe_intermediate_size": 16, "num_experts": 8},
        ["Qwen3MoeForCausalLM", "mlp.experts", "Qwen3MoeExperts", "in part"],
    ),
    "a subclass of nn.Linear": ("falcon", {}, ["FalconForCausalLM", "FalconLinear", "in part"]),
    "mamba keeps its stream in float32": (
        "mamba",
        {"state_size": 4},
        ["MambaForCausalLM", "mixer.out_proj", "in part"],
    ),
    "a gated branch": ("doge", {}, ["DogeForCausalLM", "not explained", "in part"]),
    "bert": ("bert", {}, ["BertLMHeadModel", "no decoder stack"]),
    "opt": ("opt", {}, ["OPTForCausalLM", "narrowing its configuration changes its modules"]),
    "t5": ("t5", {}, ["'t5'", "an encoder and a decoder", "in part"]),
    "bart": ("bart", {}, ["'bart'", "an encoder and a decoder", "in part"]),
    # Its decoder alone would pass every test, and its cross-attention would stay as it is.
    "mbart": ("mbart", {"decoder_layers": 2}, ["'mbart'", "an encoder and a decoder", "in part"]),
    "image and text": ("gemma3", {}, ["'gemma3'", "more than a text model", "in part"]),
    "post-norm": ("openai-gpt", {}, ["OpenAIGPTLMHeadModel", "LayerNorm", "in part"]),
    "heads that don't narrow": ("deepseek_v3", {}, ["DeepseekV3ForCausalLM", "doesn't run", "in part"]),
    "padding reaches the state": (
        "recurrent_gemma",
        {"lru_width": 32},
        ["RecurrentGemmaForCausalLM", "padding at the left of a prompt changes its residuals"],
    ),
    "no causal language model": ("clip_vision_model", {}, ["'clip_vision_model'", "decoder-only"]),
}


@pytest.mark.filterwarnings("ignore:.*is_decoder.*:UserWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused_with_the_reason(case: str) -> None:
    from transformers import AutoConfig

    kind, changes, named = REFUSED[case]
    config = AutoConfig.for_model(kind) if kind in {"gemma3", "clip_vision_model"} else tiny_config(kind, **changes)
    with pytest.raises(UnwriteError) as refusal:
        find_writers(config)
    for word in named:
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


class ArtificialLayer(nn.Module):
    """A pre-norm MLP; a flag adds what an architecture might."""

    def __init__(self, extra: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16, bias=False)
        self.scale = nn.Parameter(torch.ones(16))
        self.extra = extra

    def forward(self, hidden_states: Tensor) -> Tensor:
        y: Tensor = self.down(torch.relu(self.up(self.norm(hidden_states))))
        if self.extra == "elementwise":
            y = y * self.scale
        if self.extra == "constant":
            y = y + self.scale
        if self.extra == "scaled stream":
            return 0.5 * (hidden_states + y)
        if self.extra == "bounded":
            return torch.tanh(hidden_states + y)
        return hidden_states + y


class Artificial(nn.Module):
    """A model of two such layers."""

    def __init__(self, extra: str = "") -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 16)
        first, second = ArtificialLayer(extra), ArtificialLayer(extra)
        if extra == "tied weights":
            second.down.weight = first.down.weight
        self.layers = nn.ModuleList([first, first if extra == "same layer twice" else second])
        self.extra = extra

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        stream: Tensor = self.embed(input_ids)
        for layer in self.layers:
            stream = layer(stream)
            if self.extra == "between layers":
                stream = stream + 1e-3
            if self.extra == "a layer left out":
                break
        return stream


def artificial(extra: str, monkeypatch: pytest.MonkeyPatch) -> Discovery:
    torch.manual_seed(0)
    model = Artificial(extra).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
    monkeypatch.setattr(writers_module, "build_miniature", lambda _config: model)
    config: Any = SimpleNamespace()
    return find_writers(config)


def test_an_artificial_model_is_found_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    found = artificial("", monkeypatch)
    assert [(w.module, w.component) for w in found.writers] == [("layers.0.down", "mlp"), ("layers.1.down", "mlp")]


def test_a_scaled_stream_scales_the_multiplier(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [w.multiplier for w in artificial("scaled stream", monkeypatch).writers] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("elementwise", "not explained"),
        ("constant", "not explained by down"),
        ("bounded", "not explained by no writer"),
        ("tied weights", "layers.0.down.weight and layers.1.down.weight are one parameter"),
        ("same layer twice", "one parameter"),
        ("between layers", "between layers 0 and 1"),
        ("a layer left out", "each of its 2 layers once, in order: 1 ran"),
    ],
)
def test_what_the_sum_over_writers_cannot_show_is_refused(
    extra: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnwriteError, match=reason):
        artificial(extra, monkeypatch)
