"""Save an edited checkpoint as a release that `unwrite verify` can check: every file, the recipe, and the manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from unwrite.editing.changes import changes_of
from unwrite.editing.edit_size import EditSize
from unwrite.editing.merging import base_errors_first, merge_files
from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_folder, check_free_space, copy_file
from unwrite.files.checkpoints import INDEX_FILE, index_of, stored_tensors
from unwrite.files.direction_tensors import wrong_directions
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.files.safetensors import StoredTensor
from unwrite.files.tensors import write_tensors
from unwrite.files.threads import FileMap, map_in_threads, processors
from unwrite.pipeline.runs import StageRun
from unwrite.release.manifest import build_manifest, manifest_json
from unwrite.schema.artifacts import Base, FileDigest, Recipe, as_json
from unwrite.schema.paths import DIRECTIONS, MANIFEST, RECIPE

logger = logging.getLogger(__name__)


def save_edited_checkpoint(
    folder: Path,
    base_folder: Path,
    base: Base,
    recipe: Recipe,
    directions: Mapping[str, Tensor],
    *,
    directions_file: Path | None = None,
    runs: Sequence[StageRun] = (),
    advance: Callable[[int], None] = lambda _: None,
    map_files: FileMap | None = None,
) -> list[EditSize]:
    """Write the base model with a recipe's edits in it; an earlier release in `folder` is replaced as a whole.

    The edit is computed exactly from the base's bytes, in one pass, a few rows at a time.

    Args:
        folder: the folder of the release.
        base_folder: the folder of the base model.
        base: the record of the base model; every file is checked against it.
        recipe: from a search, or from `recipe.make_recipe`.
        directions: `directions`, `target_mean` and `baseline_mean`, each [P, L+1, d], as `compute_directions` returns
            them or directions.safetensors holds them.
        directions_file: the file that they were read from, to be copied; without it a new one is written.
        runs: the records of the stages that led to the recipe, for the manifest; none for a recipe made by hand.
        advance: called with 1 for each edited tensor.
        map_files: what writes several files at once; None for threads, one for each processor.

    Returns:
        The size of the edit of each tensor, in the order of the checkpoint.

    Raises:
        UnwriteError: the base is not the pinned one, the recipe does not fit it, the directions are not complete,
            `folder` holds something other than a release, or the disk is full.

    Example:
        >>> base = pin_base("demo/model")
        >>> kernel = Kernel(max_weight=1.0, max_weight_position=3.0, min_weight=1.0, min_weight_distance=6.0)
        >>> recipe = make_recipe(
        ...     TrialParameters(
        ...         direction_scope="per_layer", direction_index=0.0, position=0, attention=kernel, mlp=kernel
        ...     ),
        ...     base.writers,
        ...     EditSettings(
        ...         norm_preservation="rows",
        ...         edit_bias=True,
        ...         post_norm="compensate",
        ...         orthogonalize="none",
        ...         spans=[],
        ...     ),
        ... )
        >>> directions = compute_directions(torch.randn(8, 1, 7, 128) + 1, torch.randn(8, 1, 7, 128))
        >>> sizes = save_edited_checkpoint(tmp_path / "edited", Path("demo/model"), base, recipe, directions)
        >>> verify_release(tmp_path / "edited", Path("demo/model")).passed
        True
    """
    if (wrong := wrong_directions(directions)) is not None:
        raise UnwriteError(f"directions {wrong}.")
    _refuse_folder(folder, base_folder)
    check_free_space(folder, sum(file.size for file in base.files))
    with atomic_folder(folder) as unfinished:
        with base_errors_first(base_folder, base.files):
            tensors = stored_tensors(base_folder)
            changes = changes_of(recipe, tensors, directions)
            merged = merge_files(
                base_folder,
                unfinished,
                base.files,
                tensors,
                changes,
                advance=advance,
                map_files=map_files or map_in_threads(processors()),
            )
        files = [file.digest for file in merged]
        files += _write_index(unfinished, tensors)
        files += _write_recipe(unfinished, recipe, directions, directions_file)
        manifest = build_manifest(base, recipe, tensors, sorted(files, key=lambda file: file.name), runs)
        write_json(unfinished / MANIFEST, manifest_json(manifest))
    if base.left_out:
        logger.info("Left out, as no part of the checkpoint: %s.", ", ".join(base.left_out))
    logger.info("%d of %d tensors edited; the model is in %s.", len(changes), len(tensors), folder)
    sizes = {size.tensor: size for file in merged for size in file.sizes}
    return [sizes[name] for name in tensors if name in sizes]


def _refuse_folder(folder: Path, base_folder: Path) -> None:
    """Refuse a folder that would be lost when the release replaces it: the base's, or one that holds no release."""
    if folder.resolve() in (base_folder.resolve(), *base_folder.resolve().parents):
        raise UnwriteError(f"{folder} holds the base model: choose another folder.")
    if not folder.exists() or (folder / MANIFEST).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise UnwriteError(f"{folder} is not a release of unwrite and would be lost: choose another folder.")


def _write_index(folder: Path, tensors: Mapping[str, StoredTensor]) -> list[FileDigest]:
    """Write an index if the base has none, so that engines do not load directions.safetensors as weights."""
    if (folder / INDEX_FILE).exists():
        return []
    write_json(folder / INDEX_FILE, index_of(tensors))
    return [digest_of(folder / INDEX_FILE)]


def _write_recipe(
    folder: Path, recipe: Recipe, directions: Mapping[str, Tensor], directions_file: Path | None
) -> list[FileDigest]:
    write_json(folder / RECIPE.name, as_json(recipe))
    if directions_file is None:
        write_tensors(folder / DIRECTIONS.name, directions, {})
    else:
        copy_file(directions_file, folder / DIRECTIONS.name)
    return [digest_of(folder / path.name) for path in (RECIPE, DIRECTIONS)]
