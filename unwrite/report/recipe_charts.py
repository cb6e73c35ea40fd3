"""Charts of the recipe: the strength over layers of each component, and the size of the edit of each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

from unwrite.report.chart_style import FIRST, HEIGHT, INK, NUMBER, PERCENT, SECOND, SHAPES, finite
from unwrite.report.edit_sizes import TensorSize
from unwrite.report.edit_text import LayerRow
from unwrite.terms import COMPONENTS, Component

COMPONENT_NAMES: dict[Component, str] = {"attention": "attention", "mlp": "MLP"}
_DOMAIN = [COMPONENT_NAMES[component] for component in COMPONENTS]


def kernels_chart(rows: Sequence[LayerRow]) -> alt.TopLevelMixin:
    """Chart the strength λ of the recipe by layer, one line per component; a layer without a writer has no point."""
    values = [
        {"layer": row.layer, "component": COMPONENT_NAMES[component], "strength": finite(strength)}
        for row in rows
        for component in COMPONENTS
        if (strength := row.strengths[component]) is not None
    ]
    line = _by_layer(values, "strength", "strength λ").mark_line()
    points = _by_layer(values, "strength", "strength λ").mark_point(filled=True)
    points = points.encode(shape=_shape(), tooltip=["layer:Q", "component:N", alt.Tooltip("strength:Q", format=".3f")])
    exact = alt.Chart(alt.InlineData(values=[{"strength": 1}])).mark_rule(strokeDash=[2, 3], color=INK)
    return alt.layer(exact.encode(y="strength:Q"), line, points).properties(height=HEIGHT)


def edit_sizes_chart(sizes: Sequence[TensorSize]) -> alt.TopLevelMixin:
    """Chart ‖ΔW‖ / ‖W‖ of each edited matrix by layer; several tensors of a layer, such as experts, are several points.

    Biases are left out: they are often near zero, so that their ratio says little.
    """
    values = [
        {
            "tensor": size.tensor,
            "layer": size.layer,
            "component": COMPONENT_NAMES[size.component],
            "relative": finite(size.relative),
        }
        for size in sizes
        if not size.bias
    ]
    points = _by_layer(values, "relative", "‖ΔW‖ / ‖W‖", PERCENT).mark_point(filled=True, size=55)
    tooltip = ["tensor:N", "layer:Q", alt.Tooltip("relative:Q", title="‖ΔW‖ / ‖W‖", format=".3%")]
    chart: alt.TopLevelMixin = points.encode(shape=_shape(), tooltip=tooltip).properties(height=HEIGHT)
    return chart


def _by_layer(values: Sequence[Mapping[str, object]], field: str, title: str, label: str = NUMBER) -> alt.Chart:
    """Return a chart of a field by layer and component, in whole layers."""
    x = alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d", grid=False), scale=_PADDED)
    y = alt.Y(f"{field}:Q", title=title, axis=alt.Axis(tickCount=6, labelExpr=label), scale=alt.Scale(zero=True))
    return alt.Chart(alt.InlineData(values=list(values))).encode(x=x, y=y, color=_color())


def _color() -> alt.Color:
    return alt.Color("component:N", scale=alt.Scale(domain=_DOMAIN, range=[FIRST, SECOND]))


def _shape() -> alt.Shape:
    return alt.Shape("component:N", scale=alt.Scale(domain=_DOMAIN, range=list(SHAPES[:2])))


_PADDED = alt.Scale(nice=False, padding=12, zero=False)
