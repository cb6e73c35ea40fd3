"""Save an edited checkpoint as a release that `unwrite verify` can check: every file, the recipe, and the manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from unwrite.editing.changes import changes_of
from unwrite.editing.merging import base_errors_first, merge_files
from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_folder, refuse_full_disk
from unwrite.files.checkpoints import INDEX_FILE, copy_file, index_of, stored_tensors
from unwrite.files.direction_tensors import wrong_directions
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.files.tensors import read_tensors
from unwrite.files.threads import processors
from unwrite.pipeline.runs import StageRun
from unwrite.release.manifest import build_manifest, manifest_json
from unwrite.schema.artifacts import Base, Recipe, as_json
from unwrite.schema.paths import DIRECTIONS, MANIFEST, RECIPE

logger = logging.getLogger(__name__)


def save_edited_checkpoint(
    folder: Path,
    base_folder: Path,
    base: Base,
    recipe: Recipe,
    directions: Path,
    *,
    runs: Sequence[StageRun] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the base model with a recipe's edits in it; an earlier `folder` is replaced as a whole.

    The edit is computed exactly from the base's bytes, in one pass, a few rows at a time.

    Args:
        folder: the folder of the release.
        base_folder: the folder of the base model.
        base: the record of the base model; every file is checked against it.
        recipe: from a search, or from `recipe.make_recipe`.
        directions: the directions file that the recipe refers to.
        runs: the records of the stages that led to the recipe, for the manifest; none for a recipe made by hand.
        advance: called with 1 after each edited tensor.

    Raises:
        UnwriteError: the base is not the pinned one, the recipe does not fit it, the directions are not complete, or
            the disk is full.
    """
    stored_directions = read_tensors(directions, "compute_directions")
    if (wrong := wrong_directions(stored_directions)) is not None:
        raise UnwriteError(f"{directions} {wrong}.")
    refuse_full_disk(folder, sum(file.size for file in base.files))
    with atomic_folder(folder) as unfinished:
        with base_errors_first(base_folder, base.files):
            tensors = stored_tensors(base_folder)
            changes = changes_of(recipe, tensors, stored_directions)
            files = merge_files(
                base_folder, unfinished, base.files, tensors, changes, advance=advance, threads=processors()
            )
        if INDEX_FILE not in {file.name for file in files}:
            write_json(unfinished / INDEX_FILE, index_of(tensors))
            files.append(digest_of(unfinished / INDEX_FILE))
        write_json(unfinished / RECIPE.name, as_json(recipe))
        copy_file(directions, unfinished / DIRECTIONS.name)  # with the metadata that reading leaves out
        files += [digest_of(unfinished / path.name) for path in (RECIPE, DIRECTIONS)]
        manifest = build_manifest(base, recipe, tensors, sorted(files, key=lambda file: file.name), runs)
        write_json(unfinished / MANIFEST, manifest_json(manifest))
    logger.info("%d of %d tensors edited; the model is in %s.", len(changes), len(tensors), folder)
