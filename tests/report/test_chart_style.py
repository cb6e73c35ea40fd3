"""Charts as JSON: the page's colours and width, and the same bytes each time."""

from __future__ import annotations

import json
import math

import altair as alt

from unwrite.report.chart_style import SERIES, SHAPES, chart_json, finite


def chart(name: str = "a") -> alt.Chart:
    drawn = alt.Chart(alt.InlineData(values=[{"x": 1, "name": name}])).mark_point()
    encoded: alt.Chart = drawn.encode(x="x:Q", tooltip=["name:N"])
    return encoded


def test_a_chart_is_as_wide_as_its_place_and_in_the_colours_of_the_page() -> None:
    spec = json.loads(chart_json(chart()))
    assert spec["width"] == "container"
    assert spec["config"]["axis"]["labelColor"].startswith("var(--")
    assert all(colour.startswith("var(--") for colour in SERIES)
    assert len(SERIES) == len(SHAPES) == len(set(SHAPES))


def test_the_same_chart_gives_the_same_bytes() -> None:
    assert chart_json(chart()) == chart_json(chart())
    assert chart_json(chart()) != chart_json(chart("b"))


def test_words_in_a_chart_cannot_end_its_element() -> None:
    assert "<" not in chart_json(chart("</script><script>"))


def test_numbers_that_json_lacks_are_gaps() -> None:
    assert [finite(value) for value in (1.23456789, math.nan, math.inf, -math.inf)] == [1.23457, None, None, None]
