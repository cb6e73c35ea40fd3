"""One position and residual index measured: the row of the geometry table, and the map of the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.geometry import cosines
from unwrite.core.index_geometry import (
    PromptSets,
    both_centers,
    separation_figures,
    winsorized,
    winsorizing_figures,
)
from unwrite.core.residual_map import map_coordinates, map_plane, turned_like
from unwrite.core.thinning import thinned
from unwrite.evaluation.pacmap_layout import pacmap_layout
from unwrite.evaluation.silhouette import silhouette
from unwrite.schema.geometry_records import GEOMETRY_FIGURES
from unwrite.terms import MEASURED_SPLITS, SETS, MapProjection, SetName, SplitName

MeasuredResiduals = Mapping[SplitName, PromptSets]
"""The residuals of the training and of the validation prompts."""


class AtIndex(NamedTuple):
    """The directions file at one position and residual index, each [d], float64.

    direction: v, unit norm or zero.
    previous: v at the residual index before; None at index 0.
    target_center: μ_target.
    baseline_center: μ_baseline.
    """

    direction: Tensor
    previous: Tensor | None
    target_center: Tensor
    baseline_center: Tensor


class MapPoint(NamedTuple):
    """A prompt on a map: its set and split, its number there, and its coordinates."""

    set: SetName
    split: SplitName
    prompt: int
    x: float
    y: float


class IndexFigures(NamedTuple):
    """What was measured: the figures by name, the points of the map, and the plane coordinates of every prompt."""

    figures: dict[str, float]
    points: list[MapPoint]
    coordinates: Tensor


def measure_index(
    residuals: MeasuredResiduals,
    at: AtIndex,
    *,
    quantile: float,
    silhouette_prompts: int,
    map_prompts: int,
    projection: MapProjection,
    earlier: Tensor | None,
) -> IndexFigures:
    """Measure one position and residual index. Directions come from the training prompts, so only others test them.

    Every figure but the largest component before it is of winsorized residuals, as the directions are.

    Args:
        residuals: of each split, as extracted, any floating dtype.
        at: what the directions file holds here.
        quantile: where residuals are winsorized.
        silhouette_prompts: prompts of each set and split that the silhouette coefficient takes.
        map_prompts: prompts of each set and split on the map.
        projection: what the map shows.
        earlier: `coordinates` at the residual index before, of the same position; None at the first.

    Raises:
        ValueError: a residual is not finite.
    """
    _refuse_non_finite(residuals)
    clamped = {split: winsorized(residuals[split], quantile) for split in MEASURED_SPLITS}
    train = clamped["train"]
    plane = map_plane(train, at.direction, at.baseline_center)
    plane = turned_like(plane, torch.cat(_all(clamped)), earlier)
    coordinates = torch.cat([map_coordinates(plane, x) for x in _all(clamped)])
    previous = torch.zeros_like(at.direction) if at.previous is None else at.previous
    figures = {
        "cosine_to_previous": float(cosines(at.direction, previous)),
        "direction_norm": float(at.direction @ (at.target_center - at.baseline_center)),
        **both_centers(train, at.direction),
        **winsorizing_figures(residuals["train"], train),
    }
    for split, sets in clamped.items():
        named = separation_figures(sets, at.direction) | {"silhouette": silhouette(*sets, silhouette_prompts)}
        figures |= {f"{name}_{split}": value for name, value in named.items()}
    shown = coordinates
    if projection == "pca":
        figures |= {"share_x": plane.share_x, "share_y": plane.share_y}
    else:
        figures |= {"share_x": float("nan"), "share_y": float("nan")}
        shown = pacmap_layout(torch.cat(_all(clamped)), coordinates)
    return IndexFigures(
        {name: figures[name] for name in GEOMETRY_FIGURES}, _points(shown, clamped, map_prompts), coordinates
    )


def _all(residuals: MeasuredResiduals) -> list[Tensor]:
    return [x for split in MEASURED_SPLITS for x in residuals[split]]


def _points(coordinates: Tensor, residuals: MeasuredResiduals, most: int) -> list[MapPoint]:
    """Return the points of at most `most` prompts of each set and split."""
    points = []
    start = 0
    for split in MEASURED_SPLITS:
        for name, x in zip(SETS, residuals[split], strict=True):
            rows = coordinates[start : start + len(x)].tolist()
            points += [MapPoint(name, split, prompt, *rows[prompt]) for prompt in thinned(len(x), most)]
            start += len(x)
    return points


def _refuse_non_finite(residuals: MeasuredResiduals) -> None:
    for split in MEASURED_SPLITS:
        for name, x in zip(SETS, residuals[split], strict=True):
            bad = (~x.isfinite().all(-1)).nonzero().flatten()
            if len(bad):
                raise ValueError(
                    f"residuals must be finite, got NaN or infinity in {len(bad)} of {len(x)} {name} {split} prompts, "
                    f"first in prompt {int(bad[0])}"
                )
