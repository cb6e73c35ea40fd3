"""Who writes the stream in some architectures of the zoo, written out by hand: names, layouts, norms, checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from tests.support.samples import sample_layout
from unwrite.schema.artifacts import Norm, ParameterLayout, StoredLayout, Writer
from unwrite.terms import Component

LAYERS = 3


class Written(NamedTuple):
    """One writer of the layers that have it; names within the layer. `stored`: a checkpoint's name of expert {}."""

    component: Component
    module: str
    parameter: str = "weight"
    axis: int = 0
    num_matrices: int = 1
    bias: str | None = None
    bias_axis: int = 0
    norm: str | None = None
    stored: str | None = None


ARCHITECTURES: Mapping[str, tuple[str, Sequence[Written]]] = {  # name in the zoo: (layer, its writers)
    "llama": ("model.layers.{}.", [Written("attention", "self_attn.o_proj"), Written("mlp", "mlp.down_proj")]),
    "llama_bias": (
        "model.layers.{}.",
        [Written("attention", "self_attn.o_proj", bias="bias"), Written("mlp", "mlp.down_proj", bias="bias")],
    ),
    "starcoder2": (
        "model.layers.{}.",
        [Written("attention", "self_attn.o_proj", bias="bias"), Written("mlp", "mlp.c_proj", bias="bias")],
    ),
    "gpt2": (
        "transformer.h.{}.",
        [
            Written("attention", "attn.c_proj", axis=1, bias="bias"),
            Written("mlp", "mlp.c_proj", axis=1, bias="bias"),
        ],
    ),
    "gpt_neox": (
        "gpt_neox.layers.{}.",
        [Written("attention", "attention.dense", bias="bias"), Written("mlp", "mlp.dense_4h_to_h", bias="bias")],
    ),
    "gemma2": (
        "model.layers.{}.",
        [
            Written("attention", "self_attn.o_proj", norm="post_attention_layernorm"),
            Written("mlp", "mlp.down_proj", norm="post_feedforward_layernorm"),
        ],
    ),
    "mixtral": (
        "model.layers.{}.",
        [
            Written("attention", "self_attn.o_proj"),
            Written("mlp", "mlp.experts", "down_proj", 1, 8, stored="block_sparse_moe.experts.{}.w2.weight"),
        ],
    ),
    "gpt_oss": (
        "model.layers.{}.",
        [
            Written("attention", "self_attn.o_proj", bias="bias"),
            Written("mlp", "mlp.experts", "down_proj", 2, 8, bias="down_proj_bias", bias_axis=1),
        ],
    ),
    "dbrx": (
        "transformer.blocks.{}.",
        [
            Written("attention", "norm_attn_norm.attn.out_proj"),
            Written("mlp", "ffn.experts", "mlp.w2", 1, 8),
        ],
    ),
    "llama4_text": (
        "model.layers.{}.",
        [
            Written("attention", "self_attn.o_proj"),
            Written("mlp", "feed_forward.down_proj"),
            Written("mlp", "feed_forward", "experts.down_proj", 2, 8),
            Written("mlp", "feed_forward.shared_expert.down_proj"),
        ],
    ),
}


def written_by(name: str, model: nn.Module) -> list[Writer]:
    """The writers of a model of the zoo; norms are gemma's, with 1 + their weight."""
    layer_name, table = ARCHITECTURES[name]
    there = {name for name, _ in model.named_parameters()}
    return [
        _writer(model, layer_name.format(layer), layer, row)
        for layer in range(LAYERS)
        for row in table
        if f"{layer_name.format(layer)}{row.module}.{row.parameter}" in there
    ]


def _writer(model: nn.Module, prefix: str, layer: int, row: Written) -> Writer:
    module = f"{prefix}{row.module}"
    parameter = f"{module}.{row.parameter}"
    matrix = sample_layout(parameter, row.axis, row.num_matrices)
    if row.stored is not None:
        experts = [
            StoredLayout(tensor=prefix + row.stored.format(n), axis=0, num_matrices=1) for n in range(row.num_matrices)
        ]
        matrix = ParameterLayout(parameter=parameter, axis=row.axis, num_matrices=row.num_matrices, stored=experts)
    norm = None if row.norm is None else f"{prefix}{row.norm}.weight"
    values = model.get_parameter(parameter)
    return Writer(
        module=module,
        layer=layer,
        component=row.component,
        matrix=matrix,
        bias=None if row.bias is None else sample_layout(f"{module}.{row.bias}", row.bias_axis, row.num_matrices),
        norms=[] if norm is None else [Norm(parameter=norm, tensor=norm, offset=1.0)],
        multiplier=1.0,
        shape=list(values.shape),
        dtype="F64",
        shared_layers=[],
    )
