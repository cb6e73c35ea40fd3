"""Pin a model: resolve it to a commit, digest its files, find its writers and where the checkpoint holds them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.cards import NO_CARD, read_card
from unwrite.files.checkpoints import (
    left_out_files,
    listed_tensors,
    model_files,
    refuse_endless_companions,
    refuse_incomplete_index,
    stored_tensors,
)
from unwrite.files.hashing import digest_of
from unwrite.files.safetensors import DTYPES, StoredTensor, torch_dtype
from unwrite.models.conversion import StoredPart, locate_parameters, refuse_missing_tensors
from unwrite.models.discovery.findings import Discovery, FoundNorm, FoundWriter
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.discovery.writers import find_writers
from unwrite.models.hub_sums import refuse_wrong_sums
from unwrite.models.load_errors import trust_remote_code
from unwrite.models.loading import load_config
from unwrite.models.tokenizer_files import refuse_unreadable_tokenizer
from unwrite.models.unrun import unrun_modules
from unwrite.pipeline.found_model import find_model
from unwrite.schema.artifacts import Base, BaseCard, Norm, ParameterLayout, StoredLayout, Writer
from unwrite.schema.reasons import grouped_reasons
from unwrite.terms import ComputeDtype, Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_REASONS_SHOWN = 3  # in a message
logger = logging.getLogger(__name__)


class _Located(NamedTuple):
    """One parameter: hidden axis and number of matrices in memory, and its parts in the checkpoint."""

    axis: int
    num_matrices: int
    parts: list[StoredPart]


def pin_base(
    source: str,
    revision: str | None = None,
    *,
    dtype: ComputeDtype = "auto",
    quantization: Quantization = "none",
    allow_incomplete: bool = False,
) -> Base:
    """Pin a model as it is now, without loading its weights.

    Args:
        source: a local folder, a GGUF file or a hub id.
        revision: branch, tag or commit of a hub id.
        dtype: the dtype to compute in; `auto` is what the device of each run computes well.
        quantization: how extraction and search store the weights of linear layers.
        allow_incomplete: whether to pin a model of which only a part can be edited exactly.

    Raises:
        UnwriteError: the model cannot be found or read, its tokenizer needs a package that is not installed, its
            checkpoint is damaged, quantized or does not fit its config.json, or something writes the residual stream
            that cannot be edited exactly.

    Example:
        >>> base = pin_base("demo/model")
        >>> [writer.matrix.parameter for writer in base.writers[:2]]
        ['model.layers.0.self_attn.o_proj.weight', 'model.layers.0.mlp.down_proj.weight']
    """
    found = find_model(source, revision)
    folder = found.folder
    refuse_endless_companions(folder)
    refuse_unreadable_tokenizer(folder)
    names = model_files(folder, code=trust_remote_code())
    tensors = stored_tensors(folder)
    refuse_incomplete_index(folder)
    config = load_config(folder)
    discovery = find_writers(config)
    _check_complete(discovery, allowed=allow_incomplete)
    refuse_missing_tensors(config, tensors.keys(), listed_tensors(folder, tensors.keys()))
    writers = locate_writers(discovery.writers, config, tensors)
    files = [digest_of(folder / name, name) for name in names]
    if found.commit is not None:
        refuse_wrong_sums(folder, {file.name: file.sha256 for file in files})
    stored_dtype = str(DTYPES[writers[0].dtype]).removeprefix("torch.")  # which config.json may contradict
    return Base(
        source=source,
        commit=found.commit,
        architecture=discovery.architecture,
        stored_dtype=stored_dtype,
        compute_dtype=dtype,
        quantization=quantization,
        layers=discovery.layers,
        hidden_size=discovery.hidden_size,
        vocabulary=discovery.vocabulary,
        unexplained=discovery.unexplained,
        incomplete=discovery.incomplete,
        not_run=_not_run(config, tensors),
        padding_sensitive=discovery.padding_sensitive,
        streams=discovery.streams,
        card=_card(folder),
        files=files,
        left_out=_left_out(folder, names),
        gguf=found.gguf,
        writers=writers,
    )


def locate_writers(
    found: Sequence[FoundWriter], config: PreTrainedConfig, tensors: Mapping[str, StoredTensor]
) -> list[Writer]:
    """Locate the tensors of each writer in the checkpoint.

    Args:
        found: the writers of the model.
        config: the configuration of the model.
        tensors: every tensor of the checkpoint, by name.

    Raises:
        UnwriteError: a tensor is missing, has another shape than the configuration implies, or cannot be edited.
    """
    shapes = _shapes(config)
    layouts = _layouts(found, shapes)
    parts = locate_parameters(config, layouts, {name: tensor.shape for name, tensor in tensors.items()})
    for part in (part for stored in parts.values() for part in stored):
        _check_editable(part.tensor, tensors[part.tensor])
    located = {name: _Located(axis, count, parts[name]) for name, (axis, count) in layouts.items()}
    return [_as_record(writer, shapes[writer.parameter], located, tensors) for writer in found]


def _shapes(config: PreTrainedConfig) -> dict[str, list[int]]:
    model = build_on_meta(config)
    return {name: list(parameter.shape) for name, parameter in model.named_parameters(remove_duplicate=False)}


def _layouts(found: Sequence[FoundWriter], shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    """Return the hidden axis and the number of matrices (or vectors) of each weight, bias and norm of the writers."""
    layouts: dict[str, tuple[int, int]] = {}
    for writer in found:
        layouts[writer.parameter] = (writer.axis, writer.num_matrices)
        if writer.bias is not None:
            others = [size for axis, size in enumerate(shapes[writer.bias]) if axis != writer.bias_axis]
            layouts[writer.bias] = (writer.bias_axis, math.prod(others))
        vectors = [name for norm in writer.norms for name in (norm.parameter, norm.bias) if name is not None]
        layouts.update(dict.fromkeys(vectors, (0, 1)))
    return layouts


def _as_record(
    found: FoundWriter, shape: list[int], located: Mapping[str, _Located], tensors: Mapping[str, StoredTensor]
) -> Writer:
    first_tensor = located[found.parameter].parts[0].tensor
    return Writer(
        module=found.module,
        layer=found.layer,
        component=found.component,
        matrix=_layout_record(found.parameter, located),
        bias=None if found.bias is None else _layout_record(found.bias, located),
        norms=[_norm_record(norm, located) for norm in found.norms],
        multiplier=found.multiplier,
        shape=shape,
        dtype=tensors[first_tensor].dtype,
        shared_layers=list(found.shared_layers),
    )


def _layout_record(parameter: str, located: Mapping[str, _Located]) -> ParameterLayout:
    axis, num_matrices, parts = located[parameter]
    stored = [StoredLayout(tensor=part.tensor, axis=part.axis, num_matrices=part.num_matrices) for part in parts]
    return ParameterLayout(parameter=parameter, axis=axis, num_matrices=num_matrices, stored=stored)


def _norm_record(norm: FoundNorm, located: Mapping[str, _Located]) -> Norm:
    tensor = None if norm.parameter is None else located[norm.parameter].parts[0].tensor
    bias = None if norm.bias is None else _layout_record(norm.bias, located)
    return Norm(parameter=norm.parameter, tensor=tensor, offset=norm.offset, centered=norm.centered, bias=bias)


def _check_complete(discovery: Discovery, *, allowed: bool) -> None:
    """Refuse a model that can only be edited in part, unless that is allowed; warn if it is."""
    if not discovery.writers:
        reason = f" ({grouped_reasons(discovery.incomplete)[0]})" if discovery.incomplete else ""
        raise UnwriteError(f"{discovery.architecture} has no writer that can be edited exactly{reason}.")
    if not discovery.incomplete:
        return
    grouped = grouped_reasons(discovery.incomplete)
    more = len(grouped) - _REASONS_SHOWN
    reasons = "; ".join(grouped[:_REASONS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    if not allowed:
        raise UnwriteError(
            f"{discovery.architecture} cannot be edited exactly: {reasons}.\n"
            "To edit the rest, set model.allow_incomplete to true; manifest, report and card will state what is left."
        )
    logger.warning("%s is edited only in part: %s.", discovery.architecture, reasons)


def _check_editable(name: str, tensor: StoredTensor) -> None:
    try:
        torch_dtype(tensor)
    except UnwriteError as error:
        raise UnwriteError(f"{name}: {error}") from None


def _not_run(config: PreTrainedConfig, tensors: Mapping[str, StoredTensor]) -> list[str]:
    modules = unrun_modules(config, {name: tensor.shape for name, tensor in tensors.items()})
    if modules:
        logger.warning(
            "%s: stored in the checkpoint, but the model does not run it, so it is not edited.", ", ".join(modules)
        )
    return modules


def _left_out(folder: Path, names: Sequence[str]) -> list[str]:
    left = left_out_files(folder, names)
    if left:
        logger.warning("%s is left out of the edited model: it is no part of the checkpoint.", ", ".join(left))
    return left


def _card(folder: Path) -> BaseCard:
    # Only a release needs the licence, so a damaged card does not prevent the edit.
    try:
        return read_card(folder)
    except UnwriteError as error:
        logger.warning("%s The release will state no licence.", error)
        return NO_CARD
