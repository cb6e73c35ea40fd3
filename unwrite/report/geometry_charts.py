"""Charts of the geometry: norms, cosines and separation by residual index, curves that belong together in each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from unwrite.report.chart_style import INK, NUMBER, SERIES, SHAPES, finite
from unwrite.report.curves import GeometryRow


class Curves(NamedTuple):
    """Curves of one chart: a name for the page, what they show, and the columns with their labels.

    `log` is whether the axis is logarithmic: norms grow over several powers of ten along a model.
    """

    name: str
    title: str
    columns: Mapping[str, str]
    log: bool = False


GROUPS = (
    Curves(
        "auc",
        "AUC along the direction",
        {"auc_train": "training prompts", "auc_validation": "validation prompts"},
    ),
    Curves(
        "separation",
        "Separation along the direction, Cohen's d",
        {
            "separation_train": "training prompts",
            "separation_validation": "validation prompts",
        },
    ),
    Curves(
        "silhouette",
        "Silhouette of the prompt sets",
        {"silhouette_train": "training prompts", "silhouette_validation": "validation prompts"},
    ),
    Curves(
        "cosines",
        "Cosines",
        {
            "cosine_to_previous": "direction, to the one before",
            "mean_cosine_target_baseline": "target mean, baseline mean",
            "mean_cosine_target_direction": "target mean, direction",
            "mean_cosine_baseline_direction": "baseline mean, direction",
        },
    ),
    Curves(
        "norms",
        "L2 norms",
        {
            "mean_target_norm": "target mean",
            "mean_baseline_norm": "baseline mean",
            "mean_difference_norm": "their difference",
            "direction_norm": "direction used",
        },
        log=True,
    ),
    Curves(
        "components",
        "Largest component of a residual",
        {"largest_component": "as read", "largest_winsorized": "winsorized"},
        log=True,
    ),
)


def geometry_charts(points: Sequence[GeometryRow], used: Sequence[float]) -> dict[str, alt.TopLevelMixin]:
    """Return a chart of each group of curves that has values, by the group's name.

    Args:
        points: the curves; what is not finite leaves a gap.
        used: residual indices that the recipe takes its directions from; marked if there are at most three.
    """
    charts: dict[str, alt.TopLevelMixin] = {}
    for group in GROUPS:
        rows = curve_rows(points, group)
        if rows:
            charts[group.name] = _curves_chart(rows, group, used if len(used) <= 3 else ())
    return charts


def curve_rows(points: Sequence[GeometryRow], group: Curves) -> list[dict[str, Any]]:
    """Return one row per curve and residual index; curves without any value are left out.

    With several positions, each is its own curve. A logarithmic axis has no place for 0.
    """
    several = len({point.position for point in points}) > 1
    rows = []
    for column, label in group.columns.items():
        values = [point.figures.get(column, math.nan) for point in points]
        if not any(math.isfinite(value) and value != 0 for value in values):
            continue
        for point, value in zip(points, values, strict=True):
            rows.append(
                {
                    "curve": f"{label}, position {point.position}" if several else label,
                    "index": point.residual_index,
                    "value": None if group.log and value <= 0 else finite(value),
                }
            )
    return rows


def log_ticks(values: Sequence[float]) -> list[float]:
    """Return where a logarithmic axis has its labels: at powers of ten, and between them if these are few.

    Args:
        values: what is drawn, above 0.
    """
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    return [step * 10.0**power for power in range(first, last + 1) for step in steps]


def _curves_chart(rows: Sequence[dict[str, Any]], group: Curves, used: Sequence[float]) -> alt.TopLevelMixin:
    curves = list(dict.fromkeys(row["curve"] for row in rows))
    cycle = range(len(curves))
    x = alt.X(
        "index:Q",
        title="residual index (0: embedding)",
        axis=alt.Axis(tickMinStep=1, format="d", grid=False),
        scale=alt.Scale(nice=False, zero=False, padding=10),
    )
    kind = alt.Scale(type="log") if group.log else alt.Scale(zero=False)
    ticks = log_ticks([row["value"] for row in rows if row["value"] is not None]) if group.log else alt.Undefined
    axis = alt.Axis(tickCount=5, labelExpr=NUMBER, values=ticks)
    y = alt.Y("value:Q", title=None, scale=kind, axis=axis)
    legend = alt.Legend(columns=2 if len(curves) < 3 else 1)
    color = alt.Color("curve:N", legend=legend, scale=alt.Scale(domain=curves, range=[SERIES[i % 4] for i in cycle]))
    shape = alt.Shape("curve:N", scale=alt.Scale(domain=curves, range=[SHAPES[i % 4] for i in cycle]))
    data = alt.Chart(alt.InlineData(values=list(rows))).encode(x=x, y=y, color=color)
    at = alt.Chart(alt.InlineData(values=[{"index": index} for index in used])).encode(x=x)
    layers = [at.mark_rule(strokeDash=[2, 3], color=INK)] if used else []
    tooltip = ["curve:N", alt.Tooltip("index:Q", title="residual index"), alt.Tooltip("value:Q", format=".4g")]
    layers += [
        data.mark_line(),
        data.mark_point(filled=True, size=24).encode(shape=shape, tooltip=tooltip),
    ]
    return alt.layer(*layers).properties(height=200)
