"""Writers: the exact set on each architecture, the theorem on a full model with its controls, and every refusal."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.support.probe import TOKENS, edited, written_along
from tests.support.tiny import random_direction, tiny_config
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.discovery import writers as writers_module
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.discovery.miniature import VOCABULARY
from unwrite.models.discovery.writers import Discovery, FoundNorm, FoundWriter, find_writers
from unwrite.models.layers import run_model
from unwrite.terms import Component


class Row(NamedTuple):
    """The writers of one name, in the layers that have it; names are within the layer, a norm's with its offset."""

    parameter: str
    component: Component = "mlp"
    axis: int = 0
    num_matrices: int = 1
    bias: str | None = None
    bias_axis: int = 0
    layers: str = "012"
    multiplier: float | None = 1.0
    norms: tuple[tuple[str, float], ...] = ()
    module: str | None = None

    def within(self, stack: str) -> list[FoundWriter]:
        """One in each of its layers."""
        return [self._in_layer(f"{stack}.{layer}.", int(layer)) for layer in self.layers]

    def _in_layer(self, prefix: str, layer: int) -> FoundWriter:
        return FoundWriter(
            module=prefix + (self.module or self.parameter.rpartition(".")[0]),
            parameter=prefix + self.parameter,
            axis=self.axis,
            num_matrices=self.num_matrices,
            bias=None if self.bias is None else prefix + self.bias,
            bias_axis=self.bias_axis,
            layer=layer,
            component=self.component,
            multiplier=None if self.multiplier is None else round(self.multiplier, 8),
            norms=tuple(FoundNorm(prefix + norm, f"{prefix}{norm}.weight", offset) for norm, offset in self.norms),
        )


def attention(name: str, **changes: Any) -> Row:
    return Row(f"{name}.weight", "attention", **changes)


def mlp(name: str, **changes: Any) -> Row:
    return Row(f"{name}.weight", "mlp", **changes)


def biased(*rows: Row) -> list[Row]:
    return [row._replace(bias=row.parameter.replace("weight", "bias")) for row in rows]


def times(multiplier: float | None, *rows: Row) -> list[Row]:
    return [row._replace(multiplier=multiplier) for row in rows]


def only(layers: str, *rows: Row) -> list[Row]:
    return [row._replace(layers=layers) for row in rows]


def then(norm: str, row: Row, offset: float = 0.0) -> Row:
    return row._replace(norms=((norm, offset),))


MODEL = "model.layers"
LANGUAGE = "model.language_model.layers"
GPT = "transformer.h"
O = attention("self_attn.o_proj")  # noqa: E741  (as it is called in most models)
DOWN = mlp("mlp.down_proj")
FUSED = Row("mlp.experts.down_proj", axis=1, num_matrices=8)
SHARED = mlp("mlp.shared_experts.down_proj")
GATED = mlp("mlp.shared_expert.down_proj", multiplier=None)
PLAIN = (MODEL, [O, DOWN])
FIRST_DENSE = (MODEL, [O, *only("0", DOWN), *only("12", FUSED)])
FIRST_DENSE_SHARED = (MODEL, [O, *only("0", DOWN), *only("12", FUSED, SHARED)])
ALL_EXPERTS = (MODEL, [O, FUSED])
LINEAR_FIRST = [*only("01", attention("linear_attn.out_proj")), *only("2", O)]
GRANITE_EXPERTS = Row("block_sparse_moe.experts.down_proj", axis=1, num_matrices=8)
GRANITE_SHARED = mlp("shared_mlp.output_linear")
MAMBA = attention("mamba.out_proj")
FFN = mlp("feed_forward.down_proj")
LFM = [*only("02", attention("conv.out_proj")), *only("1", attention("self_attn.out_proj"))]
GEMMA = [
    then("post_attention_layernorm", O, 1.0),
    then("post_feedforward_layernorm", DOWN, 1.0),
]
OLMO = [then("post_attention_layernorm", O), then("post_feedforward_layernorm", DOWN)]
PER_LAYER_INPUT = then("post_per_layer_input_norm", mlp("per_layer_projection"))
NEMOTRON = [
    *only("0", attention("mixer.out_proj")),
    *only("1", mlp("mixer.shared_experts.down_proj")),
    *only("2", attention("mixer.o_proj")),
    *only("3", mlp("mixer.down_proj")),
]
FALCON = (GPT, [attention("self_attention.dense"), mlp("mlp.dense_4h_to_h")])
GPT_2 = (GPT, biased(attention("attn.c_proj", axis=1), mlp("mlp.c_proj", axis=1)))

EXPECTED: Mapping[str, tuple[str, Sequence[Row]]] = {  # name in the zoo: (decoder stack, its writers)
    "llama": PLAIN,
    "llama_bias": (MODEL, biased(O, DOWN)),
    "llama_tied": PLAIN,
    "llama_wide": PLAIN,
    "mistral": PLAIN,
    "qwen2": PLAIN,
    "qwen3": PLAIN,
    "smollm3": PLAIN,
    "gemma": PLAIN,
    "phi3": PLAIN,
    "stablelm": PLAIN,
    "stablelm_parallel": PLAIN,
    "cohere2": PLAIN,
    "granite": (MODEL, times(0.22, O, DOWN)),
    # A norm after the writer.
    "gemma2": (MODEL, GEMMA),
    "gemma3_text": (MODEL, GEMMA),
    "gemma3": (LANGUAGE, GEMMA),
    "muse_glimmer": (LANGUAGE, GEMMA),
    "olmo2": (MODEL, OLMO),
    "olmo3": (MODEL, OLMO),
    "exaone4": (MODEL, OLMO),
    "molmo2_norm_after": (LANGUAGE, [then("input_layernorm", O), then("post_attention_layernorm", DOWN)]),
    "glm4": (MODEL, [then("post_self_attn_layernorm", O), then("post_mlp_layernorm", DOWN)]),
    "hyperclovax": (MODEL, times(0.5, then("post_norm1", O), then("post_norm2", DOWN))),
    "afmoe": (
        MODEL,
        [
            then("post_attention_layernorm", O),
            *only("0", then("post_mlp_layernorm", DOWN)),
            *only("12", then("post_mlp_layernorm", FUSED), then("post_mlp_layernorm", SHARED)),
        ],
    ),
    "flex_olmo": (MODEL, [then("post_attention_layernorm", O), then("post_feedforward_layernorm", FUSED)]),
    "kolibri1": (
        MODEL,
        [
            then("post_self_attn_layernorm", O),
            then("post_mlp_layernorm", FUSED),
            then("post_mlp_layernorm", SHARED),
        ],
    ),
    "lfm3": (
        MODEL,
        [
            *only("0", then("post_operator_norm", attention("conv.out_proj"))),
            *only("12", then("post_operator_norm", O)),
            then("post_ffn_norm", mlp("feed_forward.w2")),
        ],
    ),
    "olmo_hybrid": (MODEL, [*only("01", attention("linear_attn.o_proj"), DOWN), *only("2", *OLMO)]),
    "axk1": (
        MODEL,
        [
            O,
            *only("0", DOWN),
            *only("12", then("mlp.post_mlp_layernorm", FUSED), then("mlp.post_mlp_layernorm", SHARED)),
        ],
    ),
    # A layer scales what leaves it by a number of the checkpoint. The last two of `wide` use others' keys and values.
    "gemma4_text": (MODEL, times(None, *OLMO, PER_LAYER_INPUT)),
    "gemma4_text_wide": (MODEL, only("0123", *times(None, *OLMO, PER_LAYER_INPUT))),
    "gemma4_text_moe": (
        MODEL,
        times(
            None,
            OLMO[0],
            DOWN._replace(norms=(("post_feedforward_layernorm_1", 0.0), ("post_feedforward_layernorm", 0.0))),
            Row(
                "experts.down_proj",
                axis=1,
                num_matrices=8,
                norms=(("post_feedforward_layernorm_2", 0.0), ("post_feedforward_layernorm", 0.0)),
            ),
        ),
    ),
    "beam": (  # the sum is scaled by depth, and both branches with it
        MODEL,
        [
            row
            for layer in range(3)
            for row in only(
                str(layer),
                *times(
                    (2 * layer + 3) ** -0.5,
                    then("post_attention_layernorm", O),
                    then("post_feedforward_layernorm", FUSED if layer else DOWN),
                ),
            )
        ],
    ),
    # Experts.
    "mixtral": ALL_EXPERTS,
    "phimoe": ALL_EXPERTS,
    "minimax_m2": ALL_EXPERTS,
    "qwen3_moe": FIRST_DENSE,
    "qwen3_vl_moe": (LANGUAGE, FIRST_DENSE[1]),
    "glm4_moe": FIRST_DENSE_SHARED,
    "deepseek_v2": FIRST_DENSE_SHARED,
    "deepseek_v3": FIRST_DENSE_SHARED,
    "ernie4_5_moe": FIRST_DENSE_SHARED,
    "hunyuan_v1_moe": (MODEL, [O, mlp("mlp.shared_mlp.down_proj"), FUSED]),
    "qwen2_moe": (MODEL, [O, *only("0", DOWN), *only("12", FUSED, GATED)]),
    "minimax_m3_vl_text": (MODEL, [O, *only("0", DOWN), *only("12", SHARED, *times(2.0, FUSED))]),
    "cohere2_moe": (MODEL, [O, *only("0", DOWN), *only("12", *times(0.5, FUSED, SHARED))]),
    "aria_text": (MODEL, [O, FUSED._replace(axis=2), SHARED]),
    "gpt_oss": (MODEL, [*biased(O), FUSED._replace(axis=2, bias="mlp.experts.down_proj_bias", bias_axis=1)]),
    "llama4_text": (
        MODEL,
        [
            *only("0123", O),
            *only("02", FFN),
            *only("13", Row("feed_forward.experts.down_proj", axis=2, num_matrices=8, module="feed_forward")),
            *only("13", mlp("feed_forward.shared_expert.down_proj", module="feed_forward")),
        ],
    ),
    "dbrx": (
        "transformer.blocks",
        [
            attention("norm_attn_norm.attn.out_proj"),
            Row("ffn.experts.mlp.w2", axis=1, num_matrices=8, module="ffn.experts"),
        ],
    ),
    "granitemoe": (MODEL, times(0.22, O, GRANITE_EXPERTS)),
    "granitemoeshared": (MODEL, times(0.22, O, GRANITE_EXPERTS, GRANITE_SHARED)),
    "jetmoe": (
        MODEL,
        [
            attention(
                "self_attention.experts.output_linear",
                axis=1,
                num_matrices=8,
                bias="self_attention.experts.bias",
                module="self_attention",
            ),
            mlp("mlp.output_linear", axis=1, num_matrices=8, bias="mlp.bias", module="mlp"),
        ],
    ),
    # Other mixers than softmax attention.
    "granitemoehybrid": (MODEL, times(0.22, *only("02", MAMBA), *only("1", O), GRANITE_EXPERTS, GRANITE_SHARED)),
    "qwen3_next": (MODEL, [*LINEAR_FIRST, *only("0", DOWN), *only("12", FUSED, GATED)]),
    "qwen3_5_text": (MODEL, [*LINEAR_FIRST, DOWN]),
    "qwen3_5_moe_text": (MODEL, [*LINEAR_FIRST, FUSED, GATED]),
    "kimi_linear": FIRST_DENSE_SHARED,
    "lfm2": (MODEL, [*LFM, mlp("feed_forward.w2")]),
    "lfm2_moe": (
        MODEL,
        [
            *LFM,
            *only("0", mlp("feed_forward.w2")),
            *only("12", Row("feed_forward.experts.down_proj", axis=1, num_matrices=8)),
        ],
    ),
    "nemotron_h": (MODEL, [*NEMOTRON, Row("mixer.experts.down_proj", axis=1, num_matrices=8, layers="1")]),
    "nemotron_h_latent": (MODEL, [*NEMOTRON, mlp("mixer.fc2_latent_proj", layers="1")]),
    "falcon_h1": (MODEL, [*times(0.3, MAMBA), *times(0.7, O), *times(0.4, FFN)]),
    "jamba": (
        MODEL,
        [
            *only("023", MAMBA),
            *only("1", O),
            *only("02", FFN),
            *only("13", Row("feed_forward.experts.down_proj", axis=1, num_matrices=8)),
        ],
    ),
    "bamba": (MODEL, [*only("02", MAMBA), *only("1", O), FFN]),
    "mamba2": ("backbone.layers", [attention("mixer.out_proj")]),
    "zamba": (MODEL, [*only("02", MAMBA), *only("13", attention("mamba_decoder.mamba.out_proj"))]),
    "recurrent_gemma": (
        MODEL,
        biased(
            *only("01", attention("temporal_block.linear_out")),
            *only("2", attention("temporal_block.o_proj")),
            mlp("mlp_block.down_proj"),
        ),
    ),
    "xlstm": ("backbone.blocks", [attention("mlstm_layer.out_proj"), mlp("ffn.proj_down")]),
    # Elsewhere, transposed, or with biases.
    "gpt2": GPT_2,
    "gpt2_square": GPT_2,
    "gpt_neox": ("gpt_neox.layers", biased(attention("attention.dense"), mlp("mlp.dense_4h_to_h"))),
    "bloom": (GPT, biased(*FALCON[1])),
    "falcon": FALCON,  # adds what it writes in place
    "falcon_alibi": (GPT, biased(*FALCON[1])),
    "opt": ("model.decoder.layers", biased(attention("self_attn.out_proj"), mlp("fc2"))),
    "starcoder2": (MODEL, biased(O, mlp("mlp.c_proj"))),
    "gptj": (GPT, [attention("attn.out_proj"), *biased(mlp("mlp.fc_out"))]),
    "ctrl": (GPT, biased(attention("multi_head_attention.dense"), mlp("ffn.2"))),
    "moshi": (MODEL, [attention("self_attn.o_proj.linear"), mlp("mlp.fc2")]),
}


@functools.cache
def found(name: str) -> Discovery:
    return find_writers(zoo_config(name))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_writers_are_exactly_these(name: str) -> None:
    discovery = found(name)
    stack, rows = EXPECTED[name]
    expected = [writer for row in rows for writer in row.within(stack)]
    assert set(discovery.writers) == set(expected)
    assert len(discovery.writers) == len(expected)
    assert [writer.layer for writer in discovery.writers] == sorted(writer.layer for writer in expected)
    assert discovery.incomplete == []
    assert discovery.unexplained < 1e-5
    config = zoo_config(name)
    text = config.get_text_config()
    assert (discovery.layers, discovery.hidden_size) == (text.num_hidden_layers, text.hidden_size)
    assert discovery.vocabulary == text.vocab_size
    assert discovery.architecture == type(zoo_model(name)).__name__


V = random_direction(32)


def left(name: str, writers: Sequence[FoundWriter], **edit: bool) -> float:
    """What is written along V, as a share, by a full model with other weights than the miniature's."""
    assert found(name).hidden_size == len(V)
    return written_along(edited(zoo_model(name, torch.float64, seed=3), writers, V, **edit), V)


@pytest.mark.parametrize("name", EXPECTED)
def test_nothing_is_written_along_the_direction_once_every_writer_is_edited_and_each_has_to_be(name: str) -> None:
    writers = found(name).writers
    assert left(name, writers) < 1e-9
    stack, rows = EXPECTED[name]
    for one in (row.within(stack)[-1] for row in rows):
        assert left(name, [writer for writer in writers if writer != one]) > 1e-3, one.parameter
    if any(writer.bias for writer in writers):
        assert left(name, writers, bias=False) > 1e-3
    if any(writer.norms for writer in writers):
        assert left(name, writers, norms=False) > 1e-3


# name in the zoo: (what the reasons say, the parameters that are proven all the same)
INCOMPLETE: Mapping[str, tuple[Sequence[str], set[str]]] = {
    "minimax": (
        ["layer 0", "not explained by mlp.experts", "doesn't pass into its output as it is"],
        {f"model.layers.{layer}.mlp.experts.down_proj" for layer in range(3)},
    ),
    "openai-gpt": (["layer 0: ln_2 (LayerNorm)", "no edit of its weights", "a norm after the sum"], set()),
    "opt_post_norm": (
        ["layer 0: final_layer_norm (LayerNorm)", "no edit of its weights", "a norm after the sum"],
        set(),
    ),
    "bloom_post_norm": (["layer 0: mlp (BloomMLP)", "a norm after the sum"], set()),
    "git": (["layer 0: output.LayerNorm (LayerNorm)", "a norm after the sum"], set()),
    "doge": (
        ["not explained by mlp.down_proj", "a scale for each component follows self_attn.o_proj"],
        {f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(3)},
    ),
    "rwkv": (
        ["layer 0: pre_ln (LayerNorm)", "a norm after the sum, or a scale"],
        {f"rwkv.blocks.{layer}.attention.output.weight" for layer in range(3)},
    ),
    "zaya": (["post_mlp_residual_scale (ZayaResidualScaling)", "or a scale"], set()),
    "muse_spark": (["post_feedforward_residual_gate (MuseSparkResidualGate)", "or a scale"], set()),
    "inkling_text": (["layer 0: attn_sconv (InklingShortConvolution)", "no edit of its weights"], set()),
    "longcat_flash": (
        ["layer 0: mlp.experts (LongcatFlashExperts)", "no edit of its weights"],
        {f"model.layers.0.{name}.weight" for n in "01" for name in (f"self_attn.{n}.o_proj", f"mlps.{n}.down_proj")},
    ),
    "gpt_neox_japanese": (
        ["layer 2", "not explained by attention.dense (Linear), mlp.dense_4h_to_h (Linear)"],
        {
            f"gpt_neox_japanese.layers.{layer}.{name}.weight"
            for layer in range(3)
            for name in ("attention.dense", "mlp.dense_4h_to_h")
        },
    ),
    "qwen4_exp_text": (["layer 0: 100.0% of what is written is not explained by any module"], set()),
    "xlm": (
        ["something writes the stream between layers 0 and 1"],
        {f"transformer.ffns.{layer}.lin2.weight" for layer in range(3)},
    ),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_what_has_no_exact_edit_is_said_with_the_reason_and_only_what_is_proven_is_listed(name: str) -> None:
    discovery = found(name)
    words, proven = INCOMPLETE[name]
    for word in words:
        assert word in "; ".join(discovery.incomplete)
    assert {writer.parameter for writer in discovery.writers} == proven
    model = zoo_model(name, torch.float64, seed=3)
    before = put_out_along(model, discovery)
    assert min(before, default=1) > 1e-2
    edited(model, discovery.writers, V)
    assert max(put_out_along(model, discovery), default=0) < 1e-9


def put_out_along(model: nn.Module, discovery: Discovery) -> list[float]:
    """The largest share along V of what each writer's module puts out."""
    shares = []

    def measure(_module: nn.Module, _args: Any, output: Any) -> None:
        y = output if isinstance(output, Tensor) else output[0]
        shares.append(float(((y @ V).abs() / y.norm(dim=-1)).max()))

    for writer in discovery.writers:
        assert writer.norms == ()
        model.get_submodule(writer.module).register_forward_hook(measure)
    if discovery.writers:
        with float64_throughout(), torch.no_grad():
            run_model(model, {"input_ids": TOKENS})
    return shares


@pytest.mark.filterwarnings("ignore:.*is_decoder.*:UserWarning")
def test_an_encoder_that_is_a_language_model_by_a_flag_is_post_norm() -> None:
    discovery = find_writers(tiny_config("bert"))
    assert discovery.writers == []
    assert "layer 0: output.LayerNorm (LayerNorm)" in discovery.incomplete[0]
    assert "a norm after the sum" in discovery.incomplete[0]


REFUSED: Mapping[str, str] = {  # name in the zoo: the reason
    "deepseek_v4": r"layer 0: its stream has shape \[2, 7, 2, 32\] for \[2, 7\] tokens",  # hyper-connections
    "hy_v4": r"layer 0: its stream has shape \[2, 7, 2, 32\] for \[2, 7\] tokens",
    "gemma3n_text": r"layer 0: its stream has shape \[2, 2, 7, 32\] for \[2, 7\] tokens",
    "mllama": "doesn't run each of its 3 layers once, in order: 2 ran",
    "hrm_text": "doesn't run each of its 2 layers once, in order: 4 ran",
    "blt": "its stream has shape .* Expected one vector a token",
    "xlnet": "its stream has shape .* Expected one vector a token",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_stream_that_is_not_one_vector_a_token_through_every_layer_is_refused(name: str) -> None:
    with pytest.raises(UnwriteError, match=REFUSED[name]) as refusal:
        found(name)
    assert "nothing is edited in part" in str(refusal.value)


@pytest.mark.parametrize("kind", ["t5", "bart", "mbart"])
def test_an_encoder_and_a_decoder_are_refused(kind: str) -> None:
    with pytest.raises(UnwriteError, match=f"'{kind}' has an encoder and a decoder; nothing is edited in part"):
        find_writers(tiny_config(kind))


@pytest.mark.parametrize("kind", ["clip_vision_model", "vit"])
def test_what_is_no_language_model_is_refused(kind: str) -> None:
    from transformers import AutoConfig

    with pytest.raises(UnwriteError, match=f"'{kind}'.*Expected a causal language model"):
        find_writers(AutoConfig.for_model(kind))


def test_an_image_is_not_made_up() -> None:
    from transformers import AutoConfig

    with pytest.raises(UnwriteError, match="Kosmos2ForConditionalGeneration doesn't run on text alone"):
        find_writers(AutoConfig.for_model("kosmos-2"))


# What follows is made by hand: layers h → h + branch(norm(h)), each with something that an architecture might have.

D, INNER, EXPERTS = 16, 24, 6
Add = Callable[[Tensor, Tensor], Tensor]


class Mlp(nn.Module):
    """up, ReLU, down."""

    def __init__(self, inner: int = INNER) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(D, inner), nn.Linear(inner, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(torch.relu(self.up(x)))
        return y


class Then(Mlp):
    """What is written goes through a function of itself, the branch's input and a parameter [d]."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.vector, self.function = nn.Parameter(torch.empty(D)), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(super().forward(x), x, self.vector)


class Routed(nn.Module):
    """Experts chosen by the token, two of those named."""

    def __init__(self, reached: int = EXPERTS) -> None:
        super().__init__()
        self.router, self.reached = nn.Linear(D, EXPERTS, bias=False), reached

    def shares(self, x: Tensor) -> Tensor:
        """[..., E], zero but for two."""
        scores = self.router(x)
        scores[..., self.reached :] = -torch.inf
        top = scores.topk(2)
        return torch.zeros_like(scores).scatter(-1, top.indices, top.values.softmax(-1))


class SideBySide(Routed):
    """Down projections fused [d, E, k]."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(EXPERTS, 8, D))
        self.down = nn.Parameter(torch.empty(D, EXPERTS, 8))

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(torch.einsum("ekd,...d->...ek", self.up, x))
        return torch.einsum("dek,...ek,...e->...d", self.down, inner, self.shares(x))


class Flat(Routed):
    """Down projections one after the other, [E·k, d]."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.up, self.activation = nn.Parameter(torch.empty(EXPERTS, 8, D)), activation
        self.down = nn.Parameter(torch.empty(EXPERTS * 8, D))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(torch.einsum("ekd,...d->...ek", self.up, x)) * self.shares(x)[..., None]
        return inner.flatten(-2) @ self.down


class Listed(Routed):
    """Experts as modules of their own, each called with its tokens alone; some are reached by none."""

    def __init__(self, reached: int) -> None:
        super().__init__(reached)
        self.experts = nn.ModuleList(Mlp() for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        shares, y = self.shares(x), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            chosen = shares[..., number] > 0
            if chosen.any():
                y[chosen] += shares[chosen][:, number, None] * expert(x[chosen])
        return y


class CalledTwice(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(-x)


class Layer(nn.Module):
    """h → add(h, branch(norm(h)))."""

    def __init__(self, mlp: nn.Module, add: Add = torch.add) -> None:
        super().__init__()
        self.norm, self.mlp, self.add = nn.RMSNorm(D), mlp, add

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.add(hidden_states, self.mlp(self.norm(hidden_states)))


class Artificial(nn.Module):
    """A model of two layers."""

    def __init__(self, first: nn.Module, second: nn.Module, between: float = 0.0) -> None:
        super().__init__()
        self.embed, self.between = nn.Embedding(VOCABULARY, D), between
        self.layers = nn.ModuleList([first, second])

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        first, second = self.layers
        stream: Tensor = second(first(self.embed(input_ids)) + self.between)
        return stream


def layers_of(branch: Callable[[], nn.Module], add: Add = torch.add) -> Artificial:
    return Artificial(Layer(branch(), add), Layer(branch(), add))


def examined(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Discovery:
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    model.double().eval().requires_grad_(False)
    monkeypatch.setattr(writers_module, "miniatures", lambda _config: iter([model]))
    text = SimpleNamespace(hidden_size=D, vocab_size=VOCABULARY)
    config: Any = SimpleNamespace(get_text_config=lambda: text)
    return find_writers(config)


def written(name: str, **fields: Any) -> list[FoundWriter]:
    """The writer of that name in both layers, an MLP's."""
    row = Row(name, module=fields.pop("module", None), **fields)
    return row._replace(layers="01").within("layers")


FOUND: Mapping[str, tuple[Callable[[], Artificial], list[FoundWriter]]] = {
    "an MLP": (lambda: layers_of(Mlp), written("mlp.down.weight")),
    "a square matrix": (lambda: layers_of(lambda: Mlp(D)), written("mlp.down.weight")),
    "a square matrix, transposed": (
        lambda: layers_of(lambda: nn.Sequential(nn.Linear(D, D), nn.ReLU(), transposed(D))),
        written("mlp.2.weight", axis=1, bias="mlp.2.bias"),
    ),
    "experts side by side": (
        lambda: layers_of(SideBySide),
        written("mlp.down", axis=0, num_matrices=EXPERTS, module="mlp"),
    ),
    "flat experts, SiLU": (
        lambda: layers_of(lambda: Flat(nn.functional.silu)),
        written("mlp.down", axis=1, num_matrices=EXPERTS, module="mlp"),
    ),
    "flat experts, ReLU": (  # zeros within an expert are no edges between two
        lambda: layers_of(lambda: Flat(torch.relu)),
        written("mlp.down", axis=1, num_matrices=EXPERTS, module="mlp"),
    ),
    "experts, some reached by no token": (
        lambda: layers_of(lambda: Listed(reached=4)),
        [row for n in range(EXPERTS) for row in written(f"mlp.experts.{n}.down.weight", module="mlp")],
    ),
    "a gate for each token": (
        lambda: layers_of(lambda: Then(lambda y, x, vector: y * (x @ vector).sigmoid()[..., None])),
        written("mlp.down.weight", multiplier=None),
    ),
    "a learned scale": (
        lambda: layers_of(lambda: Then(lambda y, _x, vector: y * vector[0])),
        written("mlp.down.weight", multiplier=None),
    ),
    "a scaled stream": (
        lambda: layers_of(Mlp, lambda stream, y: 0.5 * (stream + y)),
        written("mlp.down.weight", multiplier=0.5),
    ),
    "a norm": (
        lambda: layers_of(lambda: nn.Sequential(Mlp(), nn.RMSNorm(D))),
        written("mlp.0.down.weight", norms=(("mlp.1", 0.0),)),
    ),
    "a chain of norms": (
        lambda: layers_of(lambda: nn.Sequential(Mlp(), nn.RMSNorm(D), nn.RMSNorm(D))),
        written("mlp.0.down.weight", norms=(("mlp.1", 0.0), ("mlp.2", 0.0))),
    ),
    "a module called twice in another": (
        lambda: layers_of(CalledTwice),
        written("mlp.down.weight", module="mlp"),
    ),
}


def transposed(inner: int) -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    return Conv1D(D, inner)


@pytest.mark.parametrize("case", FOUND)
def test_what_an_architecture_might_have_is_found(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, expected = FOUND[case][0](), FOUND[case][1]
    discovery = examined(model, monkeypatch)
    assert discovery.incomplete == []
    assert set(discovery.writers) == set(expected)
    assert len(discovery.writers) == len(expected)


def test_a_norm_without_parameters_only_takes_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = layers_of(lambda: nn.Sequential(Mlp(), nn.RMSNorm(D, elementwise_affine=False)))
    discovery = examined(model, monkeypatch)
    assert discovery.incomplete == []
    assert [writer.norms for writer in discovery.writers] == [
        (FoundNorm(f"layers.{layer}.mlp.1", None, 1.0),) for layer in range(2)
    ]


def scaled(y: Tensor, _x: Tensor, vector: Tensor) -> Tensor:
    return y * vector


def unscaled(y: Tensor, _x: Tensor, _vector: Tensor) -> Tensor:
    return y


class TwoMlps(nn.Module):
    """Their sum, by way of one module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.RMSNorm(D), nn.Linear(D, INNER), nn.Linear(INNER, D)

    def forward(self, hidden_states: Tensor) -> Tensor:
        inner = self.up(self.norm(hidden_states))
        stream: Tensor = hidden_states + self.down(torch.relu(inner)) + self.down(torch.relu(-inner))
        return stream


class TwoBiases(nn.Linear):
    def __init__(self) -> None:
        super().__init__(D, D)
        self.bias_too = nn.Parameter(torch.empty(D))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x) + self.bias_too
        return y


class WritesAfter(Artificial):
    """What leaves its layers is written to once more."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__(first, second)
        self.after = Mlp()

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        stream = super().forward(input_ids)
        y: Tensor = self.after(stream)
        return stream + y


INEXACT: Mapping[str, tuple[Callable[[], Artificial], str]] = {
    "a LayerNorm after the writer": (
        lambda: layers_of(lambda: nn.Sequential(Mlp(), nn.LayerNorm(D))),
        r"layer 0: mlp.1 \(LayerNorm\) writes the stream in a way that no edit of its weights",
    ),
    "a scale for each component": (
        lambda: layers_of(lambda: Then(scaled)),
        r"layer 0: mlp \(Then\) writes the stream in a way that no edit of its weights",
    ),
    "a scale for each component, in the layer": (
        lambda: layers_of(Mlp, lambda stream, y: stream + y * torch.linspace(1, 2, D)),
        "layer 0: .* not explained by any module; a scale for each component follows mlp.down",
    ),
    "a constant": (
        lambda: layers_of(Mlp, lambda stream, y: stream + y + 0.5),
        r"layer 0: .* not explained by mlp.down \(Linear\)",
    ),
    "a bounded stream": (
        lambda: layers_of(Mlp, lambda stream, y: torch.tanh(stream + y)),
        "layer 0: .* not explained by any module; the layer's input doesn't pass into its output as it is",
    ),
    "a module called twice": (lambda: Artificial(TwoMlps(), TwoMlps()), "layer 0: .* not explained by any module"),
    "two biases for one weight": (
        lambda: layers_of(lambda: nn.Sequential(nn.ReLU(), TwoBiases())),
        r"layer 0: mlp.1 \(TwoBiases\) adds bias.* besides one bias for each of its weights",
    ),
    "something after the layers": (
        lambda: WritesAfter(Layer(Mlp()), Layer(Mlp())),
        r"after\.down runs after the layers and can write the stream",
    ),
    "something between layers": (
        lambda: Artificial(Layer(Mlp()), Layer(Mlp()), between=1e-3),
        "something writes the stream between layers 0 and 1",
    ),
}


@pytest.mark.parametrize("case", INEXACT)
def test_what_no_edit_of_weights_can_do_is_said(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, reason = INEXACT[case]
    discovery = examined(make(), monkeypatch)
    assert re.match(reason, discovery.incomplete[0])
    if "layers" not in case:
        assert [found.split(":")[0] for found in discovery.incomplete] == ["layer 0", "layer 1"]


def test_a_layer_is_not_believed_to_do_what_one_of_the_same_modules_and_shapes_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = Layer(Then(unscaled)), Layer(Then(scaled))
    discovery = examined(Artificial(first, second), monkeypatch)
    assert [writer.parameter for writer in discovery.writers] == ["layers.0.mlp.down.weight"]
    assert len(discovery.incomplete) == 1
    assert discovery.incomplete[0].startswith("layer 1: ")
    assert examined(Artificial(first, Layer(Then(unscaled))), monkeypatch).incomplete == []


def test_a_layer_of_the_same_modules_and_shapes_that_writes_otherwise_is_examined_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Either(nn.Module):
        """A square matrix, or its transpose."""

        def __init__(self, turned: bool) -> None:
            super().__init__()
            self.weight, self.turned = nn.Parameter(torch.empty(D, D)), turned

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x.relu() @ (self.weight if self.turned else self.weight.T)
            return y

    discovery = examined(Artificial(Layer(Either(False)), Layer(Either(True))), monkeypatch)
    assert discovery.incomplete == []
    assert [(writer.parameter, writer.axis) for writer in discovery.writers] == [
        ("layers.0.mlp.weight", 0),
        ("layers.1.mlp.weight", 1),
    ]


def test_a_parameter_that_layers_share_is_one_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Mlp(), Mlp()
    other.down.weight = one.down.weight
    (tied,) = examined(Artificial(Layer(one), Layer(other)), monkeypatch).writers
    assert (tied.parameter, tied.layer, tied.shared_layers) == ("layers.0.mlp.down.weight", 0, (1,))
    layer = Layer(one)
    (same,) = examined(Artificial(layer, layer), monkeypatch).writers
    assert (same.parameter, same.layer, same.shared_layers) == ("layers.0.mlp.down.weight", 0, (1,))


def test_a_parameter_shared_with_what_is_no_writer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    down = transposed(VOCABULARY)
    model = Artificial(Layer(Mlp()), Layer(nn.Sequential(nn.Linear(D, VOCABULARY), nn.ReLU(), down)))
    down.weight = model.embed.weight
    assert examined(model, monkeypatch).incomplete == [
        "layer 1: embed.weight and layers.1.mlp.2.weight are one parameter: editing one would edit the other"
    ]


class LeftOut(Artificial):
    """Its second layer doesn't run."""

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        stream: Tensor = self.layers[0](self.embed(input_ids))
        return stream


def test_layers_that_do_not_all_run_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnwriteError, match="LeftOut doesn't run each of its 2 layers once, in order: 1 ran"):
        examined(LeftOut(Layer(Mlp()), Layer(Mlp())), monkeypatch)


def test_a_model_without_a_list_of_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnwriteError, match=r"Sequential has no decoder stack\. Expected a decoder-only model"):
        examined(nn.Sequential(nn.Embedding(VOCABULARY, D), Layer(Mlp())), monkeypatch)
