"""The writers of some models in the zoo as records: what pinning would write, derived from `expected_writers`."""

from __future__ import annotations

from torch import nn

from tests.support.expected_writers import EXPECTED, expected_writers
from tests.support.samples import sample_layout
from unwrite.models.discovery.findings import FoundWriter
from unwrite.schema.artifacts import Norm, ParameterLayout, StoredLayout, Writer

LAYERS = 3  # as many as sample directions have
ARCHITECTURES = (
    "llama",
    "llama_bias",
    "starcoder2",
    "gpt2",
    "gpt_neox",
    "gemma2",
    "mixtral",
    "gpt_oss",
    "dbrx",
    "llama4_text",
)
STORED_EXPERTS = {"mixtral": ("mlp.experts.down_proj", "block_sparse_moe.experts.{}.w2.weight")}  # other names on disk


def layer_of(name: str, layer: int) -> str:
    """The name of a decoder layer in a model of the zoo."""
    return f"{EXPECTED[name][0]}.{layer}"


def written_by(name: str, model: nn.Module) -> list[Writer]:
    """The writers in a model's first layers, layer by layer; it stores every parameter as float64."""
    writers = sorted((one for one in expected_writers(name) if one.layer < LAYERS), key=lambda one: one.layer)
    return [_as_record(name, model, writer) for writer in writers]


def _as_record(name: str, model: nn.Module, found: FoundWriter) -> Writer:
    bias = None if found.bias is None else sample_layout(found.bias, found.bias_axis, found.num_matrices)
    return Writer(
        module=found.module,
        layer=found.layer,
        component=found.component,
        matrix=_matrix(name, found),
        bias=bias,
        norms=[Norm(parameter=norm.parameter, tensor=norm.parameter, offset=norm.offset) for norm in found.norms],
        multiplier=found.multiplier,
        shape=list(model.get_parameter(found.parameter).shape),
        dtype="F64",
        shared_layers=[],
    )


def _matrix(name: str, found: FoundWriter) -> ParameterLayout:
    in_memory, on_disk = STORED_EXPERTS.get(name, (None, ""))
    if in_memory is None or not found.parameter.endswith(in_memory):
        return sample_layout(found.parameter, found.axis, found.num_matrices)
    prefix = found.parameter.removesuffix(in_memory)
    stored = [
        StoredLayout(tensor=prefix + on_disk.format(expert), axis=0, num_matrices=1)
        for expert in range(found.num_matrices)
    ]
    return ParameterLayout(parameter=found.parameter, axis=found.axis, num_matrices=found.num_matrices, stored=stored)
