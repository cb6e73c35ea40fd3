"""Merge the edit into the checkpoint: write every file as the recipe makes it of the base's, and the manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from torch import Tensor

from unwrite.editing.checkpoint import TensorChange, changes_of, merged_spans, refuse_misfits
from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_folder, refuse_full_disk
from unwrite.files.checkpoints import INDEX_FILE, StoredTensor, copy_file, index_of, stored_tensors
from unwrite.files.hashing import digest_of, refuse_another, verify_files
from unwrite.files.records import write_json
from unwrite.files.tensors import read_tensors
from unwrite.files.threads import in_threads, processors
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.progress import progress
from unwrite.pipeline.runs import read_runs
from unwrite.pipeline.stage import run_stage, say
from unwrite.release.manifest import build_manifest, manifest_json
from unwrite.schema.artifacts import Base, FileDigest, Recipe, read_artifact, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import BASE, DIRECTIONS, MANIFEST, MODEL, RECIPE

# The stages that lead to the recipe: the manifest lists what they read, wrote and ran on.
BEFORE = (
    "pin_model",
    "tokenize_prompts",
    "extract_residuals",
    "compute_directions",
    "optimize_weights",
    "select_trial",
)


def merge_model(params: Params) -> None:
    """Writes artifacts/model/: the base's files with the recipe's edits in them, the recipe, and the manifest."""
    runs = read_runs(BEFORE, [BASE, DIRECTIONS, RECIPE])
    base = read_base()
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    directions = read_tensors(DIRECTIONS, "compute_directions")
    source = pinned_folder(base, weights=False)
    refuse_full_disk(MODEL, sum(file.size for file in base.files))
    with atomic_folder(MODEL) as folder:
        with _unless_the_base_changed(source, base):
            tensors = stored_tensors(source)
            changes = _fitting_changes(recipe, tensors, directions, base.hidden_size)
            with progress("edited tensors", len(changes), params.runtime.progress) as advance:
                files = merge_files(source, folder, base.files, tensors, changes, advance=advance, threads=processors())
        if INDEX_FILE not in {file.name for file in files}:
            write_json(folder / INDEX_FILE, index_of(tensors))
            files.append(digest_of(folder / INDEX_FILE))
        for artifact in (RECIPE, DIRECTIONS):
            copy_file(artifact, folder / artifact.name)
            files.append(digest_of(folder / artifact.name))
        files.sort(key=lambda file: file.name)
        write_json(folder / MANIFEST, manifest_json(build_manifest(base, recipe, tensors, files, runs)))
    say(f"{len(changes)} of {len(tensors)} tensors edited; the model is in {MODEL}.")


def _fitting_changes(
    recipe: Recipe, tensors: Mapping[str, StoredTensor], directions: Mapping[str, Tensor], hidden_size: int
) -> dict[str, TensorChange]:
    try:
        refuse_misfits(tensors, recipe, hidden_size)
        return changes_of(recipe, tensors, directions)
    except UnwriteError as error:
        raise UnwriteError(f"{error} Run `dvc repro -f pin_model` and what follows.") from None


@contextmanager
def _unless_the_base_changed(source: Path, base: Base) -> Iterator[None]:
    """If anything is wrong with the base's shards, says first that they are not the pinned ones, where they aren't."""
    try:
        yield
    except UnwriteError:
        verify_files(source, base.files)
        raise


def merge_files(
    source: Path,
    target: Path,
    files: Sequence[FileDigest],
    tensors: Mapping[str, StoredTensor],
    changes: Mapping[str, TensorChange],
    *,
    advance: Callable[[int], None],
    threads: int,
) -> list[FileDigest]:
    """Writes the base's files with the changes in them, several at once.

    Args:
        source: The base's folder.
        target: The folder to write to.
        files: The base's, as they were pinned.
        tensors: The base's, by name.
        changes: What is done to them, by name.
        advance: Told of every tensor that was changed.
        threads: How many files are written at once; their bytes don't depend on it.

    Returns:
        What was written.

    Raises:
        UnwriteError: A file is not the one that was pinned, or a change can't be made.
    """
    lock = Lock()

    def write(file: FileDigest, end_if_stopped: Callable[[], None]) -> FileDigest:
        before, after = hashlib.sha256(), hashlib.sha256()
        with (target / file.name).open("wb") as stream:
            for span, blocks in merged_spans(source / file.name, tensors, changes):
                for old, new in blocks:
                    end_if_stopped()
                    before.update(old)
                    after.update(new)
                    stream.write(new)
                if span.tensor in changes:
                    with lock:
                        advance(1)
            size = stream.tell()
            stream.flush()
            os.fsync(stream.fileno())  # here, so that the disk has work while the next file is made
        refuse_another(source / file.name, file, size, before.hexdigest())
        return FileDigest(name=file.name, size=size, sha256=after.hexdigest())

    # The largest first, so that none is left to one thread at the end.
    return in_threads(write, sorted(files, key=lambda file: -file.size), threads)


if __name__ == "__main__":
    run_stage(merge_model)
