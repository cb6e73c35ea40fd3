"""Pin the model: resolve it to a commit, list its files with sha256, find what writes its stream and where it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError
from unwrite.files.cards import NO_CARD, read_card
from unwrite.files.checkpoints import DTYPES, StoredTensor, model_files, stored_tensors, torch_dtype
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.models.conversion import StoredPart, locate_parameters
from unwrite.models.discovery.findings import Discovery, FoundWriter
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.discovery.writers import find_writers
from unwrite.models.loading import load_config, trust_remote_code
from unwrite.models.source import resolve_source
from unwrite.pipeline.stage import run_stage, say
from unwrite.schema.artifacts import Base, BaseCard, Norm, ParameterLayout, StoredLayout, Writer, as_json
from unwrite.schema.params import Params
from unwrite.schema.paths import BASE

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_REASONS = 3  # what a message names; there can be one for each layer


def pin_model(params: Params) -> None:
    """Writes artifacts/base.json."""
    source = resolve_source(params.model.source, params.model.revision)
    names = model_files(source.folder, code=trust_remote_code())
    tensors = stored_tensors(source.folder)
    config = load_config(source.folder)
    discovery = find_writers(config)
    _refuse_incomplete(discovery, allowed=params.model.allow_incomplete)
    writers = _stored_writers(discovery.writers, config, tensors)
    # What the file says, not what config.json claims.
    stored = str(DTYPES[writers[0].dtype]).removeprefix("torch.")
    base = Base(
        source=params.model.source,
        commit=source.commit,
        architecture=discovery.architecture,
        stored_dtype=stored,
        compute_dtype=stored if params.model.dtype == "auto" else params.model.dtype,
        quantization=params.model.quantization,
        layers=discovery.layers,
        hidden_size=discovery.hidden_size,
        vocabulary=discovery.vocabulary,
        unexplained=discovery.unexplained,
        incomplete=discovery.incomplete,
        padding_sensitive=discovery.padding_sensitive,
        card=_stated(source.folder),
        files=[digest_of(source.folder / name) for name in names],
        writers=writers,
    )
    write_json(BASE, as_json(base))
    say(f"{base.architecture}: {base.layers} layers, {len(base.writers)} writers, {len(names)} files pinned.")


def _stated(folder: Path) -> BaseCard:
    # A licence is the publisher's concern, not the model's: whatever is wrong with its card, the model can be edited.
    try:
        return read_card(folder)
    except UnwriteError as error:
        say(f"warning: {error} The release will state no licence.")
        return NO_CARD


def _refuse_incomplete(discovery: Discovery, *, allowed: bool) -> None:
    if not discovery.writers:
        reason = f" ({discovery.incomplete[0]})" if discovery.incomplete else ""
        raise UnwriteError(f"{discovery.architecture}: nothing that writes its stream can be edited{reason}.")
    if not discovery.incomplete:
        return
    more = len(discovery.incomplete) - _REASONS
    reasons = "; ".join(discovery.incomplete[:_REASONS]) + (f"; and {more} more" if more > 0 else "")
    if not allowed:
        raise UnwriteError(
            f"{discovery.architecture} can't be edited exactly: {reasons}.\n"
            "To edit the rest and have it said in manifest, report and card, set model.allow_incomplete to true."
        )
    say(f"warning: {discovery.architecture} is edited in part: {reasons}.")


def _stored_writers(
    found: Sequence[FoundWriter], config: PreTrainedConfig, tensors: Mapping[str, StoredTensor]
) -> list[Writer]:
    model = build_on_meta(config)
    layouts: dict[str, tuple[int, int]] = {}
    for writer in found:
        layouts[writer.parameter] = (writer.axis, writer.num_matrices)
        if writer.bias is not None:
            shape = model.get_parameter(writer.bias).shape
            layouts[writer.bias] = (writer.bias_axis, shape.numel() // shape[writer.bias_axis])
        layouts.update({norm.parameter: (0, 1) for norm in writer.norms if norm.parameter is not None})
    places = locate_parameters(config, layouts, {name: tensor.shape for name, tensor in tensors.items()})
    for part in (part for parts in places.values() for part in parts):
        _refuse_uneditable(part.tensor, tensors[part.tensor])

    def layout(parameter: str) -> ParameterLayout:
        axis, num_matrices = layouts[parameter]
        return ParameterLayout(
            parameter=parameter, axis=axis, num_matrices=num_matrices, stored=list(map(_place, places[parameter]))
        )

    return [
        Writer(
            module=writer.module,
            layer=writer.layer,
            component=writer.component,
            matrix=layout(writer.parameter),
            bias=None if writer.bias is None else layout(writer.bias),
            norms=[
                Norm(
                    parameter=norm.parameter,
                    tensor=None if norm.parameter is None else places[norm.parameter][0].tensor,
                    offset=norm.offset,
                )
                for norm in writer.norms
            ],
            multiplier=writer.multiplier,
            shape=list(model.get_parameter(writer.parameter).shape),
            dtype=tensors[places[writer.parameter][0].tensor].dtype,
            shared_layers=list(writer.shared_layers),
        )
        for writer in found
    ]


def _place(part: StoredPart) -> StoredLayout:
    return StoredLayout(tensor=part.tensor, axis=part.axis, num_matrices=part.num_matrices)


def _refuse_uneditable(name: str, tensor: StoredTensor) -> None:
    try:
        torch_dtype(tensor)
    except UnwriteError as error:
        raise UnwriteError(f"{name}: {error}") from None


if __name__ == "__main__":
    run_stage(pin_model)
