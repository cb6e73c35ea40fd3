"""Export the edit as a LoRA adapter for PEFT: exact where the edit is of rank 1, otherwise with its error stated."""

from __future__ import annotations

import logging

from unwrite.editing.adapter import save_adapter
from unwrite.editing.lora import planned_changes
from unwrite.files.atomic import atomic_folder
from unwrite.files.records import write_text
from unwrite.files.tensors import read_tensors
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage
from unwrite.report.tables import model_name
from unwrite.schema.artifacts import Recipe, read_artifact, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import ADAPTER, DIRECTIONS, RECIPE

logger = logging.getLogger("unwrite.stage")

_NO_ADAPTER = "No adapter was exported: adapter.rank in params.yaml is null. Give it a rank and run `dvc repro`.\n"


def export_adapter(params: Params) -> None:
    """Write artifacts/adapter/: configuration and weights as PEFT reads them, the recipe, and the manifest."""
    if params.adapter.rank is None:
        with atomic_folder(ADAPTER) as folder:
            write_text(folder / "README.txt", _NO_ADAPTER)
        logger.info("No adapter was exported, because adapter.rank is null.")
        return
    base = read_base()
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    directions = read_tensors(DIRECTIONS, "compute_directions")
    changes = planned_changes(recipe, base, params.adapter.rank)
    base_folder = pinned_folder(base)
    with progress("adapted parameters", len(changes), params.runtime.progress) as advance:
        save_adapter(
            ADAPTER,
            base_folder,
            recipe,
            directions,
            changes,
            base_name=model_name(base),
            commit=base.commit,
            advance=advance,
        )


if __name__ == "__main__":
    run_stage(export_adapter)
