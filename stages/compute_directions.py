"""Compute the directions (winsorize, center, subtract, orthogonalize) and figures that describe them."""

from __future__ import annotations

import logging
import math

from torch import Tensor

from unwrite.core import direction_set
from unwrite.core.direction_set import winsorize_prompts
from unwrite.core.geometry import geometry
from unwrite.errors import as_user_error
from unwrite.files.records import write_csv, write_json
from unwrite.files.tensors import read_tensors, write_tensors
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import Geometry, SeparatedIndex, as_json
from unwrite.schema.params import Params
from unwrite.schema.paths import CURVES, DIRECTIONS, GEOMETRY, RESIDUALS
from unwrite.terms import SETS

logger = logging.getLogger("unwrite.stage")

_REMEDY = (
    "Check that the two prompt sets differ and have two prompts or more, and that every position comes after the "
    "prompt's own words. Set model.dtype to bfloat16 or float32 if a residual is not finite."
)


def compute_directions(params: Params) -> None:
    """Write directions.safetensors: `directions`, `target_mean`, `baseline_mean`, each [P, L+1, d] in float32."""
    settings = params.directions
    target, baseline = (_winsorized_residuals(name, settings.winsorize.quantile) for name in SETS)
    with as_user_error(f"{RESIDUALS}/", _REMEDY):
        tensors = direction_set.compute_directions(
            target, baseline, center_method=settings.center, orthogonalization=settings.orthogonalize
        )
        figures = geometry(target, baseline, tensors["directions"])
    write_tensors(DIRECTIONS, tensors, settings.model_dump(mode="json"))
    _write_geometry(figures)


def _winsorized_residuals(name: str, quantile: float) -> Tensor:
    residuals = read_tensors(RESIDUALS / f"{name}.safetensors", "extract_residuals")["residuals"]
    return winsorize_prompts(residuals, quantile)


def _write_geometry(figures: dict[str, Tensor]) -> None:
    names = list(figures)
    positions, indices = figures[names[0]].shape
    write_csv(
        CURVES,
        ["position", "residual_index", *names],
        [
            [position, index, *(float(figures[name][position, index]) for name in names)]
            for position in range(positions)
            for index in range(indices)
        ],
    )
    position, index = divmod(int(figures["auc"].argmax()), indices)
    values = {name: float(figures[name][position, index]) for name in names}
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    best = SeparatedIndex.model_validate({"position": position, "residual_index": index, **finite})
    write_json(GEOMETRY, as_json(Geometry(best_separated=best)))
    logger.info("Best separated at residual index %d: AUC %.3f.", index, best.auc)


if __name__ == "__main__":
    run_stage(compute_directions)
