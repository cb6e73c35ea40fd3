"""Compute the directions: winsorize, centre, take the difference, orthogonalize; and figures that describe them."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from unwrite.core.directions import center, difference_direction, orthogonalize
from unwrite.core.geometry import geometry
from unwrite.core.winsorize import winsorize
from unwrite.files.records import write_csv, write_json
from unwrite.files.tensors import read_tensors, write_tensors
from unwrite.pipeline.stage import run_stage
from unwrite.schema.params import Params
from unwrite.schema.paths import CURVES, DIRECTIONS, GEOMETRY, RESIDUALS

logger = logging.getLogger("unwrite.stage")


def compute_directions(params: Params) -> None:
    """Writes directions.safetensors: `directions`, `target_mean`, `baseline_mean`, each [P, L+1, d] in float32."""
    settings = params.directions
    target, baseline = (
        _winsorized(
            read_tensors(RESIDUALS / f"{name}.safetensors", "extract_residuals")["residuals"],
            settings.winsorize.quantile,
        )
        for name in ("target", "baseline")
    )
    target_mean, baseline_mean = center(target, settings.center), center(baseline, settings.center)
    directions = difference_direction(target_mean, baseline_mean)
    if settings.orthogonalize != "none":
        directions = orthogonalize(directions, baseline_mean)
    tensors = {"directions": directions, "target_mean": target_mean, "baseline_mean": baseline_mean}
    metadata = settings.model_dump(mode="json")
    write_tensors(DIRECTIONS, {name: tensor.float() for name, tensor in tensors.items()}, metadata)
    _write_geometry(geometry(target, baseline, directions))


def _winsorized(residuals: Tensor, quantile: float) -> Tensor:
    """Winsorize residuals [n, P, L+1, d] in float32, one prompt at a time."""
    return torch.stack([winsorize(prompt.float(), quantile) for prompt in residuals])


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
    best: dict[str, float | None] = {"position": position, "residual_index": index}
    for name in names:
        value = float(figures[name][position, index])
        best[name] = value if math.isfinite(value) else None
    write_json(GEOMETRY, {"best_separated": best})
    logger.info("Best separated at residual index %d: AUC %.3f.", index, figures["auc"][position, index].item())


if __name__ == "__main__":
    run_stage(compute_directions)
