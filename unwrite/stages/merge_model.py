"""Merge the edit into the checkpoint: write every file of the base with the recipe's edits, and the manifest."""

from __future__ import annotations

from unwrite.files.checkpoints import WEIGHTS
from unwrite.files.records import write_csv
from unwrite.files.tensors import read_tensors
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.progress import progress
from unwrite.pipeline.runs import read_runs
from unwrite.pipeline.stage import run_stage
from unwrite.release.manifest import tensor_edits
from unwrite.release.save import save_edited_checkpoint
from unwrite.schema.artifacts import Recipe, read_artifact, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import BASE, DIRECTIONS, EDIT_SIZES, MODEL, RECIPE
from unwrite.workers.shards import open_file_map

# The stages that lead to the recipe: the manifest lists what they read, wrote and ran on.
BEFORE = (
    "pin_model",
    "tokenize_prompts",
    "extract_residuals",
    "filter_prompts",
    "compute_directions",
    "optimize_weights",
    "select_trial",
)


def merge_model(params: Params) -> None:
    """Write artifacts/model/ (the base's files with the recipe's edits, recipe, manifest) and the sizes of the edit."""
    runs = read_runs(BEFORE, [BASE, DIRECTIONS, RECIPE])
    base = read_base()
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    directions = read_tensors(DIRECTIONS, "compute_directions")
    base_folder = pinned_folder(base, weights=False)  # the shards are checked while they are merged
    shards = sum(file.name.endswith(WEIGHTS) for file in base.files)
    with (
        open_file_map(params.runtime.workers, [base_folder], shards) as map_files,
        progress("edited tensors", len(tensor_edits(recipe)), params.runtime.progress) as advance,
    ):
        sizes = save_edited_checkpoint(
            MODEL,
            base_folder,
            base,
            recipe,
            directions,
            directions_file=DIRECTIONS,
            runs=runs,
            advance=advance,
            map_files=map_files,
        )
    rows = [(size.tensor, size.norm, size.change, size.relative) for size in sizes]
    write_csv(EDIT_SIZES, ["tensor", "norm", "change", "relative"], rows)


if __name__ == "__main__":
    run_stage(merge_model)
