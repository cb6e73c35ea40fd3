"""The charts of a comparison: strengths by layer of both sides, and how far their directions agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from unwrite.report.chart_style import HEIGHT, NUMBER, SERIES, chart_json, finite
from unwrite.report.recipe_charts import COMPONENT_NAMES
from unwrite.schema.artifacts import Recipe
from unwrite.terms import COMPONENTS

SIDES = ("A", "B")


def comparison_charts(
    recipes: Sequence[Recipe | None], directions: Sequence[Mapping[str, Any]] | None
) -> dict[str, str]:
    """Return the charts that there is data for, as JSON by name.

    Args:
        recipes: those of both sides; None for a side without one.
        directions: rows with `position`, `residual_index`, `cosine` of the two directions, and the norms `norm_a` and
            `norm_b` of the difference of the means; None if they cannot be compared.
    """
    charts: dict[str, alt.TopLevelMixin] = {}
    for component in COMPONENTS:
        rows = [
            {"layer": edit.layer, "side": side, "value": finite(edit.strength)}
            for side, recipe in zip(SIDES, recipes, strict=True)
            for edit in (recipe.edits if recipe is not None else ())
            if edit.component == component
        ]
        if rows:
            title = f"strength λ, {COMPONENT_NAMES[component]}"
            charts[f"strength_{component}"] = _lines(rows, ("layer", "layer"), title)
    if directions:
        cosines = [
            {"index": row["residual_index"], "side": f"position {row['position']}", "value": row["cosine"]}
            for row in directions
        ]
        charts["cosines"] = _lines(cosines, ("index", "residual index"), "cosine of the directions")
        norms = [
            {"index": row["residual_index"], "side": side, "value": finite(row[f"norm_{side.lower()}"])}
            for side in SIDES
            for row in directions
            if row["position"] == 0
        ]
        charts["norms"] = _lines(norms, ("index", "residual index"), "‖μ_target − μ_baseline‖")
    return {name: chart_json(chart) for name, chart in charts.items()}


def _lines(rows: Sequence[Mapping[str, Any]], x: tuple[str, str], title: str) -> alt.TopLevelMixin:
    field, label = x
    lines = list(dict.fromkeys(row["side"] for row in rows))
    across = alt.X(
        f"{field}:Q",
        title=label,
        axis=alt.Axis(tickMinStep=1, format="d", grid=False),
        scale=alt.Scale(nice=False, zero=False, padding=12),
    )
    up = alt.Y("value:Q", title=title, axis=alt.Axis(tickCount=6, labelExpr=NUMBER))
    colours = [SERIES[i % len(SERIES)] for i in range(len(lines))]
    color = alt.Color("side:N", scale=alt.Scale(domain=lines, range=colours))
    shape = alt.Shape("side:N", scale=alt.Scale(domain=lines))
    data = alt.Chart(alt.InlineData(values=list(rows))).encode(x=across, y=up, color=color)
    tooltip = ["side:N", f"{field}:Q", alt.Tooltip("value:Q", format=".4g")]
    points = data.mark_point(filled=True).encode(shape=shape, tooltip=tooltip)
    return alt.layer(data.mark_line(), points).properties(height=HEIGHT)
