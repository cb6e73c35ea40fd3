"""The chart of the residual maps; the page's script puts the coordinates of one residual index into it."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from unwrite.report.chart_style import FIRST, NUMBER, QUIET, SECOND
from unwrite.report.page_scripts import script_json
from unwrite.report.residual_maps import ResidualMaps
from unwrite.terms import MapProjection

_AXIS = alt.Axis(tickCount=6, labelExpr=NUMBER)
POINTS = "points"
"""The name of the chart's data."""


def map_chart(maps: ResidualMaps, projection: MapProjection) -> alt.TopLevelMixin:
    """Return the chart, without points: colour tells the prompt set, shape the split.

    Args:
        maps: the maps; which sets and splits there are.
        projection: what they show.
    """
    sets = list(dict.fromkeys(name for name, _ in maps.groups))
    splits = list(dict.fromkeys(split for _, split in maps.groups))
    along = projection == "pca"
    scale = alt.Scale(nice=False, zero=False, padding=16)
    x = alt.X("x:Q", title="along the direction" if along else "", scale=scale, axis=_AXIS)
    y = alt.Y("y:Q", title="first other component" if along else "", scale=scale, axis=_AXIS)
    chart: alt.TopLevelMixin = (
        alt.Chart(alt.NamedData(name=POINTS))
        .mark_point(filled=True, opacity=0.65, size=34)
        .encode(
            x=x,
            y=y,
            color=alt.Color("set:N", scale=alt.Scale(domain=sets, range=_colours(sets))),
            shape=alt.Shape(
                "split:N",
                scale=alt.Scale(domain=splits, range=["circle", "triangle-up", "square"]),
                legend=alt.Legend(symbolFillColor=QUIET, symbolStrokeColor=QUIET),  # black in a dark page otherwise
            ),
            tooltip=["set:N", "split:N", "prompt:Q"],
        )
        .properties(height=340)
    )
    return chart


def map_data(maps: ResidualMaps) -> str:
    """Return the coordinates as JSON for the page's script."""
    groups = list(dict.fromkeys(maps.groups))
    return script_json(
        {
            "groups": groups,
            "group": [groups.index(group) for group in maps.groups],
            "prompts": maps.prompts,
            "frames": maps.frames,
        }
    )


def _colours(sets: Sequence[str]) -> list[str]:
    return [SECOND if name == "target" else FIRST for name in sets]
