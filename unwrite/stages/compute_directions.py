"""Compute the directions from the kept training prompts: winsorize, center, subtract, orthogonalize."""

from __future__ import annotations

from torch import Tensor

from unwrite.core import direction_set
from unwrite.core.direction_set import winsorize_prompts
from unwrite.errors import as_user_error
from unwrite.files.tensors import read_tensors, write_tensors
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import read_artifact
from unwrite.schema.kept_prompts import KeptPrompts
from unwrite.schema.params import Params
from unwrite.schema.paths import DIRECTIONS, KEPT_PROMPTS, RESIDUALS, residuals_file
from unwrite.terms import SETS, SetName

_REMEDY = (
    "Check that the two prompt sets differ and have two prompts or more, and that every position comes after the "
    "prompt's own words. Set model.dtype to bfloat16 or float32 if a residual is not finite."
)


def compute_directions(params: Params) -> None:
    """Write directions.safetensors: `directions`, `target_mean`, `baseline_mean`, each [P, L+1, d] in float32."""
    settings = params.directions
    kept = read_artifact(KeptPrompts, KEPT_PROMPTS, "filter_prompts")
    target, baseline = (_winsorized_residuals(name, kept, settings.winsorize.quantile) for name in SETS)
    with as_user_error(f"{RESIDUALS}/", _REMEDY):
        tensors = direction_set.compute_directions(
            target, baseline, center_method=settings.center, orthogonalization=settings.orthogonalize
        )
    write_tensors(DIRECTIONS, tensors, settings.model_dump(mode="json"))


def _winsorized_residuals(name: SetName, kept: KeptPrompts, quantile: float) -> Tensor:
    residuals = read_tensors(residuals_file(name, "train"), "extract_residuals")["residuals"]
    rows: list[int] = getattr(kept, name).rows
    return winsorize_prompts(residuals if len(rows) == len(residuals) else residuals[rows], quantile)


if __name__ == "__main__":
    run_stage(compute_directions)
