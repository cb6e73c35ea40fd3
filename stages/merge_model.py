"""Merge the edit into the checkpoint: copy it, overwrite only the byte ranges of edited tensors, write its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from unwrite.artifacts import Edit, Recipe, read_artifact
from unwrite.core.edit import edit_bias, edited_blocks
from unwrite.core.rounding import round_to
from unwrite.files.atomic import atomic_folder, refuse_full_disk
from unwrite.files.checkpoints import (
    StoredTensor,
    copy_file,
    read_rows,
    row_blocks,
    stored_tensors,
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
from unwrite.recipe import resolve_direction
from unwrite.stage import run_stage, say


def merge_model(params: Params) -> None:
    """Writes artifacts/model/: the base's files with the recipe's edits in them, the recipe, and the manifest."""
    base = read_base()
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    directions = read_tensors(DIRECTIONS, "compute_directions")
    source = pinned_folder(base)
    refuse_full_disk(MODEL, sum(file.size for file in base.files))
    with atomic_folder(MODEL) as folder:
        for file in base.files:
            copy_file(source / file.name, folder / file.name)
        for artifact in (RECIPE, DIRECTIONS):
            copy_file(artifact, folder / artifact.name)
        tensors = stored_tensors(folder)
        with progress("edited tensors", len(recipe.edits), params.runtime.progress) as advance:
            for edit in recipe.edits:
                direction = resolve_direction(edit.direction, directions["directions"], directions["baseline_mean"])
                patch_weight(tensors[edit.parameter], edit, direction, recipe.norm_preservation)
                if edit.bias is not None:
                    patch_bias(tensors[edit.bias], edit, direction)
                advance(1)
        files = [digest_of(path) for path in sorted(folder.iterdir())]
        settings = read_metadata(DIRECTIONS, "compute_directions")
        write_json(folder / MANIFEST, build_manifest(base, recipe, tensors, files, settings))
    say(f"{len(recipe.edits)} of {len(tensors)} tensors edited; the model is in {MODEL}.")


def patch_weight(tensor: StoredTensor, edit: Edit, direction: Tensor, norm_preservation: NormPreservation) -> None:
    """Overwrites a stored weight with its edit, a few rows in memory at a time, float64, rounded once at the end."""
    for rows, block in edited_blocks(partial(_blocks, tensor), direction, edit.weight, norm_preservation):
        write_rows(tensor, rows, block)


def patch_bias(tensor: StoredTensor, edit: Edit, direction: Tensor) -> None:
    """Overwrites a stored bias with its edit."""
    rows = slice(0, tensor.shape[0])
    bias = read_rows(tensor, rows)
    write_rows(tensor, rows, round_to(edit_bias(bias, direction, edit.weight), bias.dtype))


def _blocks(tensor: StoredTensor) -> Iterator[tuple[slice, Tensor]]:
    for rows in row_blocks(tensor.shape):
        yield rows, read_rows(tensor, rows)


if __name__ == "__main__":
    run_stage(merge_model)
