"""Measure the geometry: how the directions lie, how well they separate the prompt sets, and maps of the residuals."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from unwrite.core.index_geometry import PromptSets
from unwrite.core.thinning import thinned
from unwrite.errors import as_user_error
from unwrite.evaluation.index_figures import AtIndex, IndexFigures, measure_index
from unwrite.files.records import write_csv, write_json
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import as_json
from unwrite.schema.geometry_records import GEOMETRY_FIGURES, Geometry, SeparatedIndex, Thinned
from unwrite.schema.params import GeometrySection, Params
from unwrite.schema.paths import CURVES, DIRECTIONS, GEOMETRY, RESIDUAL_MAP, RESIDUALS, residuals_file
from unwrite.terms import MEASURED_SPLITS, SETS

logger = logging.getLogger("unwrite.stage")

Place = tuple[int, int]
"""A position and a residual index."""


def measure_geometry(params: Params) -> None:
    """Write artifacts/geometry.json, artifacts/plots/geometry.csv and artifacts/residual_map.csv."""
    settings = params.geometry
    directions = read_tensors(DIRECTIONS, "compute_directions")
    quantile = read_metadata(DIRECTIONS, "compute_directions")["winsorize"]["quantile"]
    residuals = {
        split: [read_tensors(residuals_file(name, split), "extract_residuals")["residuals"] for name in SETS]
        for split in MEASURED_SPLITS
    }
    positions, indices = directions["directions"].shape[:2]
    measured: dict[Place, IndexFigures] = {}
    with progress("geometry by residual index", positions * indices, params.runtime.progress) as advance:
        for place in ((position, index) for position in range(positions) for index in range(indices)):
            with as_user_error(f"{RESIDUALS}/, residual index {place[1]}", "Run `dvc repro -f extract_residuals`."):
                measured[place] = measure_index(
                    {split: _sets_at(residuals[split], place) for split in MEASURED_SPLITS},
                    _directions_at(directions, place),
                    quantile=quantile,
                    silhouette_prompts=settings.silhouette_prompts,
                    map_prompts=settings.map_prompts,
                    projection=settings.projection,
                    earlier=measured[place[0], place[1] - 1].coordinates if place[1] > 0 else None,
                )
            advance(1)
    counts = {
        f"{name}.{split}": len(x) for split in MEASURED_SPLITS for name, x in zip(SETS, residuals[split], strict=True)
    }
    _write_curves(measured)
    _write_map(measured)
    _write_summary(measured, settings, counts)


def _sets_at(residuals: list[Tensor], place: Place) -> PromptSets:
    """Return one position and residual index of both sets: a view, so that no more of a large file is in memory."""
    return PromptSets(*(x[:, place[0], place[1]] for x in residuals))


def _directions_at(tensors: dict[str, Tensor], place: Place) -> AtIndex:
    position, index = place
    v, target, baseline = (
        tensors[name][position].to(torch.float64) for name in ("directions", "target_mean", "baseline_mean")
    )
    return AtIndex(v[index], v[index - 1] if index > 0 else None, target[index], baseline[index])


def _write_curves(measured: dict[Place, IndexFigures]) -> None:
    rows = ([*place, *map(_cell, found.figures.values())] for place, found in measured.items())
    write_csv(CURVES, ["position", "residual_index", *GEOMETRY_FIGURES], rows)


def _write_map(measured: dict[Place, IndexFigures]) -> None:
    def rows() -> Iterator[list[object]]:
        for place, found in measured.items():
            for point in found.points:
                yield [*place, *point[:3], f"{point.x:.5g}", f"{point.y:.5g}"]

    write_csv(RESIDUAL_MAP, ["position", "residual_index", "set", "split", "prompt", "x", "y"], rows())


def _write_summary(measured: dict[Place, IndexFigures], settings: GeometrySection, counts: dict[str, int]) -> None:
    """Write geometry.json, and say which direction separates the validation prompts best."""

    def used(most: int) -> dict[str, Thinned]:
        return {prompts: Thinned(used=len(thinned(count, most)), of=count) for prompts, count in counts.items()}

    def order(place: Place) -> tuple[float, float]:
        figures = measured[place].figures
        apart = figures["separation_validation"]
        return figures["auc_validation"], -math.inf if math.isnan(apart) else apart

    position, index = best = max(measured, key=order)  # the first of equals
    figures = measured[best].figures
    separated = SeparatedIndex(
        position=position,
        residual_index=index,
        auc=figures["auc_validation"],
        auc_train=figures["auc_train"],
        separation=_finite(figures["separation_validation"]),
        silhouette=_finite(figures["silhouette_validation"]),
    )
    on_map = used(settings.map_prompts)
    geometry = Geometry(
        best_separated=separated,
        projection=settings.projection,
        silhouette=used(settings.silhouette_prompts),
        map=on_map,
    )
    write_json(GEOMETRY, as_json(geometry))
    logger.info(
        f"Best separated at residual index {index}: AUC {separated.auc:.3f} on validation prompts "
        f"({separated.auc_train:.3f} on the training prompts)."
    )
    if any(part.used < part.of for part in on_map.values()):
        logger.info(f"The maps show {settings.map_prompts} prompts of each set and split (geometry.map_prompts).")


def _cell(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    run_stage(measure_geometry)
