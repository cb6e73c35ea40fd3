"""A figure as an SVG element: well-formed, the same bytes, nothing that reaches out of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure

from unwrite.report.svg import FIRST, draw


def paint(figure: Figure) -> None:
    axes = figure.subplots()
    axes.plot([0, 1, 2], [0, 2, 1], marker="o", color=FIRST)
    axes.set_title("a < b & c")


def test_same_figure_gives_the_same_bytes() -> None:
    assert draw(paint, "curve", 4, 3) == draw(paint, "curve", 4, 3)


def test_two_figures_share_no_id_and_refer_to_their_own() -> None:
    found = []
    for name in ("one", "two"):
        svg = draw(paint, name, 4, 3)
        elements = list(ET.fromstring(svg).iter())
        ids = {value for element in elements if (value := element.get("id"))}
        links = {v for e in elements for key, v in e.attrib.items() if key.endswith("href") or "url(" in v}
        targets = {link.removeprefix("url(").removesuffix(")").removeprefix("#") for link in links}
        assert targets
        assert targets <= ids
        found.append(ids)
    assert found[0].isdisjoint(found[1])


def test_other_matplotlib_settings_are_unchanged() -> None:
    before = dict(mpl.rcParams)
    draw(paint, "curve", 4, 3)
    assert dict(mpl.rcParams) == before


def test_figure_has_no_date_and_no_page_wide_style_but_the_colours_of_the_page() -> None:
    svg = draw(paint, "curve", 4, 3)
    assert svg.startswith("<svg")
    assert "date" not in svg
    assert "<metadata" not in svg
    assert ">*{" not in svg
    assert f"var(--first, {FIRST})" in svg
    assert "a &lt; b &amp; c" in svg
