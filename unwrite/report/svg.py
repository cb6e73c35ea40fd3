"""A matplotlib figure as one SVG element for a page: always the same bytes, and no styles that affect the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Drawn in these colours, shown in the page's own through CSS variables, so that one figure serves light and dark. Blue
# and vermilion are of Okabe & Ito (2008): colour-blind readers tell them apart. In print, shapes and dashes do.
INK, MUTED, FIRST, SECOND = "#1b1c1e", "#8a8d91", "#0072b2", "#d55e00"
_VARIABLES = {INK: "--ink", MUTED: "--muted", FIRST: "--first", SECOND: "--second"}
_STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, read aloud, and in the page's font
    "font.size": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": MUTED,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
}


def draw(paint: Callable[[Figure], None], name: str, width: float, height: float) -> str:
    """Draw a figure as an <svg> element.

    Args:
        paint: function that draws on the empty figure, in the colours above.
        name: unique name in the page; every id in the element begins with it.
        width: width in inches.
        height: height in inches.
    """
    style: Any = {**_STYLE, "svg.hashsalt": name}
    buffer = io.StringIO()
    # Figure, not pyplot: figures share no state. The style must apply while drawing and while writing.
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # a date would change the bytes
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    return _embeddable(buffer.getvalue(), name)


def _embeddable(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("*{stroke-linejoin", "svg *{stroke-linejoin")
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable}, {colour})")
    return svg
