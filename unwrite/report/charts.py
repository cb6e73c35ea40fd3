"""Every chart of the report, as JSON for the page; imported only where one is written: Altair is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt

from unwrite.report.chart_style import chart_json
from unwrite.report.curves import GeometryRow
from unwrite.report.edit_sizes import TensorSize
from unwrite.report.edit_text import layer_rows
from unwrite.report.geometry_charts import GROUPS, geometry_charts
from unwrite.report.map_chart import map_chart, map_data
from unwrite.report.recipe_charts import edit_sizes_chart, kernels_chart
from unwrite.report.residual_maps import ResidualMaps
from unwrite.report.search_chart import STOPPED_TRIAL, TRIAL, search_chart, trial_rows
from unwrite.schema.artifacts import Base, Front, Recipe, Trial
from unwrite.terms import MapProjection


class ReportCharts(NamedTuple):
    """What the charts need of the page.

    Attributes:
        charts: Vega-Lite specifications as JSON, by name.
        curve_titles: titles of the charts of the geometry, by name.
        front_rows: the trials to list beside the chart of the search: those that are more than a trial.
        map_data: the coordinates of the maps as JSON; None without maps.
    """

    charts: dict[str, str]
    curve_titles: dict[str, str]
    front_rows: list[dict[str, Any]]
    map_data: str | None


def report_charts(
    *,
    base: Base,
    recipe: Recipe,
    front: Front,
    trials: Sequence[Trial],
    stopped: Sequence[Trial],
    curves: Sequence[GeometryRow],
    sizes: Sequence[TensorSize],
    maps: ResidualMaps | None,
    projection: MapProjection = "pca",
) -> ReportCharts:
    """Draw every chart that there is data for.

    Args:
        base: the pinned model.
        recipe: the edit, from a trial.
        front: what is common to all trials.
        trials: trials measured in full.
        stopped: stopped trials, whose rates are lower bounds.
        curves: the geometry by residual index.
        sizes: the size of the edit of each tensor.
        maps: the maps of residuals, if there are any.
        projection: what the maps show.
    """
    assert recipe.trial is not None
    rows = trial_rows(trials, stopped, front, recipe.trial)
    used = sorted({edit.direction.index for edit in recipe.edits})
    by_index = geometry_charts(curves, used)
    charts: dict[str, alt.TopLevelMixin] = {
        "search": search_chart(rows, front),
        "kernels": kernels_chart(layer_rows(recipe, base)),
    }
    if any(not size.bias for size in sizes):
        charts["sizes"] = edit_sizes_chart(sizes)
    charts |= by_index
    if maps is not None and maps.frames:
        charts["map"] = map_chart(maps, projection)
    listed = [row for row in rows if row["kind"] not in (TRIAL, STOPPED_TRIAL)]
    return ReportCharts(
        charts={name: chart_json(chart) for name, chart in charts.items()},
        curve_titles={group.name: group.title for group in GROUPS if group.name in by_index},
        front_rows=sorted(listed, key=lambda row: (row["kl"], row["number"])),
        map_data=map_data(maps) if maps is not None and maps.frames else None,
    )
