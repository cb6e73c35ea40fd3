"""Pin the model: resolve it to a commit, list its files with sha256, find the parameters that write its stream."""

from __future__ import annotations

from collections.abc import Mapping

from unwrite.artifacts import Base, Writer, as_json
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import DTYPES, StoredTensor, model_files, stored_tensors, torch_dtype
from unwrite.files.digests import digest_of
from unwrite.files.records import write_json
from unwrite.models.loading import load_config, trust_remote_code
from unwrite.models.source import resolve_source
from unwrite.models.writers import FoundWriter, find_writers
from unwrite.params import Params
from unwrite.paths import BASE
from unwrite.stage import run_stage, say


def pin_model(params: Params) -> None:
    """Writes artifacts/base.json."""
    source = resolve_source(params.model.source, params.model.revision)
    names = model_files(source.folder, code=trust_remote_code())
    tensors = stored_tensors(source.folder)
    config = load_config(source.folder)
    discovery = find_writers(config)
    writers = [_stored_writer(writer, tensors, config.hidden_size) for writer in discovery.writers]
    # What the file says, not what config.json claims.
    stored = str(DTYPES[writers[0].dtype]).removeprefix("torch.")
    base = Base(
        source=params.model.source,
        commit=source.commit,
        architecture=discovery.architecture,
        stored_dtype=stored,
        compute_dtype=stored if params.model.dtype == "auto" else params.model.dtype,
        layers=discovery.layers,
        hidden_size=config.hidden_size,
        vocabulary=config.vocab_size,
        completeness=discovery.completeness,
        files=[digest_of(source.folder / name) for name in names],
        writers=writers,
    )
    write_json(BASE, as_json(base))
    say(f"{base.architecture}: {base.layers} layers, {len(base.writers)} writers, {len(names)} files pinned.")


def _stored_writer(writer: FoundWriter, tensors: Mapping[str, StoredTensor], hidden_size: int) -> Writer:
    parameter = f"{writer.module}.weight"
    bias = f"{writer.module}.bias" if writer.has_bias else None
    for name in filter(None, (parameter, bias)):
        if name not in tensors:
            raise UnwriteError(f"The checkpoint has no tensor {name}, which writes the stream: it can't be edited.")
        if tensors[name].shape[0] != hidden_size:
            raise UnwriteError(f"{name} has shape {tensors[name].shape}; config.json says {hidden_size} rows.")
        torch_dtype(tensors[name])
    rows, columns = tensors[parameter].shape
    return Writer(
        parameter=parameter,
        bias=bias,
        layer=writer.layer,
        component=writer.component,
        shape=(rows, columns),
        dtype=tensors[parameter].dtype,
        multiplier=writer.multiplier,
    )


if __name__ == "__main__":
    run_stage(pin_model)
