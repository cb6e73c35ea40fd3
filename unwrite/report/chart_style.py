"""How charts look, and how they become the JSON that a page holds: colours are the page's own, by CSS variables."""

from __future__ import annotations

import math
from typing import Any

from altair import TopLevelMixin

from unwrite.report.page_scripts import script_json

# Blue and vermilion are of Okabe & Ito (2008): colour-blind readers tell them apart. Shapes repeat what colours say.
INK, QUIET, LINE, MUTED = "var(--ink)", "var(--quiet)", "var(--line)", "var(--muted)"
FIRST, SECOND, THIRD, FOURTH = "var(--first)", "var(--second)", "var(--third)", "var(--fourth)"
SERIES = (FIRST, SECOND, THIRD, FOURTH)
SHAPES = ("circle", "square", "triangle-up", "diamond")
HEIGHT = 240
NUMBER = "format(datum.value, '.4~g')"
"""The label of a number on an axis: without an exponent as long as it is short."""
PERCENT = "format(100 * datum.value, '~g') + ' %'"
"""The label of a share on an axis."""

_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": QUIET,
        "titleColor": QUIET,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "titlePadding": 8,
        "labelFontSize": 11.5,
        "gridColor": LINE,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "tickSize": 4,
        "labelOverlap": True,
    },
    "legend": {
        "orient": "top",
        "direction": "horizontal",
        "title": None,
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": 260,
        "symbolStrokeWidth": 1.6,
        "symbolSize": 60,
        "columnPadding": 14,
        "columns": 3,
        "offset": 8,
    },
    "line": {"strokeWidth": 1.8},
    "point": {"size": 42, "strokeWidth": 1.6},
    "rule": {"color": MUTED},
    "text": {"color": QUIET, "fontSize": 11.5},
}


def chart_json(chart: TopLevelMixin) -> str:
    """Return a chart as the JSON of a Vega-Lite specification, as wide as its place in the page.

    The same chart gives the same bytes. Characters that could end a script element are escaped.
    """
    spec = chart.to_dict(validate=False)  # the tests compile every chart; checking the schema takes seconds
    spec["config"] = _CONFIG
    spec["width"] = "container"
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return script_json(spec)


def finite(value: float) -> float | None:
    """Return a number that JSON can hold, to six digits; None for NaN and infinity, which leaves a gap."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
