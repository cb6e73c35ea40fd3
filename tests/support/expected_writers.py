"""The writers of every architecture in the zoo that can be edited exactly, written out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unwrite.models.discovery.findings import FoundNorm, FoundWriter
from unwrite.terms import Component


class Row(NamedTuple):
    """The writers of one name, in the layers that have it.

    Names are within the layer. A norm has its offset next to its name.
    """

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
        """Return one writer for each of its layers."""
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
    """A row for a linear layer that is attention."""
    return Row(f"{name}.weight", "attention", **changes)


def mlp(name: str, **changes: Any) -> Row:
    """A row for a linear layer that is an MLP."""
    return Row(f"{name}.weight", "mlp", **changes)


def biased(*rows: Row) -> list[Row]:
    """The same rows with the bias next to the weight."""
    return [row._replace(bias=row.parameter.replace("weight", "bias")) for row in rows]


def times(multiplier: float | None, *rows: Row) -> list[Row]:
    """The same rows with another multiplier."""
    return [row._replace(multiplier=multiplier) for row in rows]


def only(layers: str, *rows: Row) -> list[Row]:
    """The same rows in some of the layers."""
    return [row._replace(layers=layers) for row in rows]


def then(norm: str, row: Row, offset: float = 0.0) -> Row:
    """The same row with a norm after it."""
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
    # Each layer scales its output by a stored number. The last two of `wide` use the keys and values of other layers.
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
    # Several streams.
    "deepseek_v4": (MODEL, times(None, *only("0123", attention("self_attn.o_b_proj"), FUSED, SHARED))),
    "hy_v4": (MODEL, times(None, *FIRST_DENSE_SHARED[1])),
    "glm5_next": (LANGUAGE, times(None, *FIRST_DENSE_SHARED[1])),
    "qwen4_exp_text_without_ple": (MODEL, times(None, *LINEAR_FIRST, FUSED, GATED)),
    # Mixers other than softmax attention.
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
    # Other places, transposed, or with biases.
    "gpt2": GPT_2,
    "gpt2_square": GPT_2,
    "gpt_neox": ("gpt_neox.layers", biased(attention("attention.dense"), mlp("mlp.dense_4h_to_h"))),
    "gpt_neox_japanese": (
        "gpt_neox_japanese.layers",
        [
            attention("attention.dense", layers="01"),
            attention("attention.dense", layers="2", bias="attention.dense_bias"),  # which the layer adds
            mlp("mlp.dense_4h_to_h"),
        ],
    ),
    "bloom": (GPT, biased(*FALCON[1])),
    "falcon": FALCON,  # adds what it writes in place
    "falcon_alibi": (GPT, biased(*FALCON[1])),
    "opt": ("model.decoder.layers", biased(attention("self_attn.out_proj"), mlp("fc2"))),
    "starcoder2": (MODEL, biased(O, mlp("mlp.c_proj"))),
    "gptj": (GPT, [attention("attn.out_proj"), *biased(mlp("mlp.fc_out"))]),
    "ctrl": (GPT, biased(attention("multi_head_attention.dense"), mlp("ffn.2"))),
    "moshi": (MODEL, [attention("self_attn.o_proj.linear"), mlp("mlp.fc2")]),
}


def expected_writers(name: str) -> list[FoundWriter]:
    """The writers of a model in the zoo, row by row."""
    stack, rows = EXPECTED[name]
    return [writer for row in rows for writer in row.within(stack)]
