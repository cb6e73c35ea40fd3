"""Merge the edit into the checkpoint: copy it, overwrite only the byte ranges of edited tensors, write its manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from unwrite.artifacts import Edit, Place, Recipe, read_artifact
from unwrite.core.edit import edited_blocks
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_folder, refuse_full_disk
from unwrite.files.checkpoints import (
    StoredTensor,
    copy_file,
    cut,
    read_rows,
    row_blocks,
    stored_tensors,
    torch_dtype,
    write_rows,
)
from unwrite.files.digests import digest_of
from unwrite.files.records import write_json
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.params import NormPreservation, Params
from unwrite.paths import DIRECTIONS, MODEL, RECIPE
from unwrite.pinned import pinned_folder, read_base
from unwrite.progress import progress
from unwrite.provenance.manifest import MANIFEST, build_manifest
from unwrite.recipe import applied_direction, edit_matrices, edit_vectors
from unwrite.stage import run_stage, say

_AGAIN = "Run `dvc repro -f pin_model` and what follows."


def merge_model(params: Params) -> None:
    """Writes artifacts/model/: the base's files with the recipe's edits in them, the recipe, and the manifest."""
    base = read_base()
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    directions = read_tensors(DIRECTIONS, "compute_directions")
    source = pinned_folder(base)
    refuse_misfits(stored_tensors(source), recipe, base.hidden_size)
    refuse_full_disk(MODEL, sum(file.size for file in base.files))
    with atomic_folder(MODEL) as folder:
        for file in base.files:
            copy_file(source / file.name, folder / file.name)
        for artifact in (RECIPE, DIRECTIONS):
            copy_file(artifact, folder / artifact.name)
        tensors = stored_tensors(folder)
        with progress("edited writers", len(recipe.edits), params.runtime.progress) as advance:
            for edit in recipe.edits:
                norms = read_norms(tensors, edit)
                direction = applied_direction(edit, directions["directions"], directions["baseline_mean"], norms)
                patch_edit(tensors, edit, direction, recipe.norm_preservation)
                advance(1)
        files = [digest_of(path) for path in sorted(folder.iterdir())]
        settings = read_metadata(DIRECTIONS, "compute_directions")
        write_json(folder / MANIFEST, build_manifest(base, recipe, tensors, files, settings))
    edited = {place.tensor for edit in recipe.edits for place in places_of(edit)}
    say(f"{len(edited)} of {len(tensors)} tensors edited; the model is in {MODEL}.")


def places_of(edit: Edit) -> list[Place]:
    """Every place in the checkpoint that an edit changes."""
    return edit.matrix.stored + (edit.bias.stored if edit.bias is not None else [])


def refuse_misfits(tensors: Mapping[str, StoredTensor], recipe: Recipe, hidden_size: int) -> None:
    """Holds the recipe against the checkpoint, before anything is copied.

    Raises:
        UnwriteError: The checkpoint lacks a tensor of the recipe, or has it in another shape, or not as floating point.
    """
    for edit in recipe.edits:
        for place in edit.matrix.stored:
            matrices = partial(as_matrices, axis=place.axis, groups=place.groups)
            _refuse_misfit(tensors, place.tensor, matrices, place.groups, hidden_size)
        for place in edit.bias.stored if edit.bias is not None else []:
            vectors = partial(as_vectors, axis=place.axis)
            _refuse_misfit(tensors, place.tensor, vectors, place.groups, hidden_size)
        for norm in edit.norms:
            if norm.tensor is not None:
                _refuse_misfit(tensors, norm.tensor, partial(as_vectors, axis=0), 1, hidden_size)


def _refuse_misfit(
    tensors: Mapping[str, StoredTensor], name: str, view: Callable[[Tensor], Tensor], groups: int, hidden_size: int
) -> None:
    if name not in tensors:
        raise UnwriteError(f"{RECIPE} names {name}, which the checkpoint doesn't have. {_AGAIN}")
    torch_dtype(tensors[name])
    shape = tensors[name].shape
    try:
        came = view(torch.empty(shape, device="meta")).shape[:2]
    except UnwriteError as error:
        raise UnwriteError(f"{name}: {error}. {_AGAIN}") from None
    if came != (groups, hidden_size):
        raise UnwriteError(
            f"{name} has shape {list(shape)}; {RECIPE} takes it for {groups} × hidden size {hidden_size}. {_AGAIN}"
        )


def read_norms(tensors: Mapping[str, StoredTensor], edit: Edit) -> dict[str, Tensor]:
    """The weight of each norm that an edit names, by the norm's parameter."""
    return {
        norm.parameter: _read(tensors[norm.tensor])
        for norm in edit.norms
        if norm.parameter is not None and norm.tensor is not None
    }


def patch_edit(
    tensors: Mapping[str, StoredTensor], edit: Edit, direction: Tensor, norm_preservation: NormPreservation
) -> None:
    """Overwrites what an edit names, wherever the checkpoint holds it.

    Args:
        tensors: Of the checkpoint, by name.
        edit: One of the recipe's.
        direction: What to project out, [d].
        norm_preservation: What of each matrix's norms is kept.
    """
    for place in edit.matrix.stored:
        patch_weight(tensors[place.tensor], place, edit.weight, direction, norm_preservation)
    for place in edit.bias.stored if edit.bias is not None else []:
        patch_bias(tensors[place.tensor], place, edit.weight, direction)


def patch_weight(
    tensor: StoredTensor, place: Place, weight: float, direction: Tensor, norm_preservation: NormPreservation
) -> None:
    """Overwrites a stored weight with its edit, float64, rounded once at the end.

    Matrices with the hidden axis first are read a few rows at a time, others whole, one by one; only where a tensor has
    its matrices side by side ([d, G, k]) is all of it read.
    """
    axis, groups, axes = place.axis, place.groups, len(tensor.shape)
    side_by_side = axis == 0 and (groups, axes) != (1, 2)
    hidden_first = axis == axes - 2
    for part in [tensor] if side_by_side else cut(tensor, groups):
        if hidden_first and not side_by_side:
            for rows, block in edited_blocks(partial(_blocks, part), direction, weight, norm_preservation):
                write_rows(part, rows, block)
        else:
            values = _read(part)
            matrices = as_matrices(values, axis, groups) if side_by_side else as_matrices(values, 1, 1)
            edit_matrices(matrices, direction, weight, norm_preservation)
            _write(part, values)


def patch_bias(tensor: StoredTensor, place: Place, weight: float, direction: Tensor) -> None:
    """Overwrites a stored bias with its edit."""
    values = _read(tensor)
    edit_vectors(as_vectors(values, place.axis), direction, weight)
    _write(tensor, values)


def _read(tensor: StoredTensor) -> Tensor:
    return read_rows(tensor, slice(0, tensor.shape[0]))


def _write(tensor: StoredTensor, values: Tensor) -> None:
    write_rows(tensor, slice(0, tensor.shape[0]), values)


def _blocks(tensor: StoredTensor) -> Iterator[tuple[slice, Tensor]]:
    for rows in row_blocks(tensor.shape):
        yield rows, read_rows(tensor, rows)


if __name__ == "__main__":
    run_stage(merge_model)
