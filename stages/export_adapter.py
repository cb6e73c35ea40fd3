"""Export the edit as a LoRA adapter for PEFT: exact where the edit is of rank 1, else with what it misses stated."""

from __future__ import annotations

from unwrite.editing.lora import AdapterManifest, adapter_values, error_line, planned_changes
from unwrite.files.atomic import atomic_folder
from unwrite.files.checkpoints import copy_file, stored_tensors
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json, write_text
from unwrite.files.tensors import read_tensors, write_tensors
from unwrite.models.loading import load_config
from unwrite.models.peft import plan_adapter
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage, say
from unwrite.report.tables import model_name
from unwrite.schema.artifacts import Recipe, as_json, read_artifact, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import ADAPTER, DIRECTIONS, RECIPE

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MANIFEST = "adapter.json"
_NONE = "No adapter was exported: adapter.rank in params.yaml is null. Give it a rank and run `dvc repro`.\n"


def export_adapter(params: Params) -> None:
    """Writes artifacts/adapter/: configuration and weights as PEFT reads them, the recipe, and the manifest."""
    if params.adapter.rank is None:
        with atomic_folder(ADAPTER) as folder:
            write_text(folder / "README.txt", _NONE)
        say(f"no adapter, since adapter.rank is null; {ADAPTER} says so.")
        return
    base = read_base()
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    directions = read_tensors(DIRECTIONS, "compute_directions")
    changes = planned_changes(recipe, base, params.adapter.rank)
    source = pinned_folder(base)
    plan = plan_adapter(
        load_config(source), [change.target for change in changes], source=model_name(base), revision=base.commit
    )
    with progress("adapted parameters", len(changes), params.runtime.progress) as advance:
        values, adapted = adapter_values(changes, plan, stored_tensors(source), directions, advance)
    with atomic_folder(ADAPTER) as folder:
        write_json(folder / CONFIG, plan.config)
        write_tensors(folder / WEIGHTS, values, {"base": model_name(base), "commit": base.commit})
        copy_file(RECIPE, folder / RECIPE.name)
        manifest = AdapterManifest(
            base=model_name(base),
            commit=base.commit,
            norm_preservation=recipe.settings.norm_preservation,
            largest_error=max(one.relative_error for one in adapted),
            parameters=adapted,
            files=[digest_of(path) for path in sorted(folder.iterdir())],
        )
        write_json(folder / MANIFEST, as_json(manifest))
    say(f"{error_line(adapted)}; the adapter is in {ADAPTER}.")


if __name__ == "__main__":
    run_stage(export_adapter)
