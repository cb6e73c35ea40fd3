"""Every chart of the report: Vega-Lite compiles it, and its channels show fields that its data has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import vl_convert

from tests.support.report_pages import sample_charts
from unwrite.report.charts import ReportCharts
from unwrite.report.map_chart import POINTS

DRAWN = sample_charts()


def channels(spec: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each encoded field with the rows that it is read from."""
    for layer in spec.get("layer", [spec]):
        data = layer.get("data", spec.get("data"))
        rows = spec["datasets"][data["name"]] if "name" in data and data["name"] != POINTS else data.get("values", [])
        for channel in layer.get("encoding", {}).values():
            for one in channel if isinstance(channel, list) else [channel]:
                if "field" in one:
                    yield one["field"], rows


@pytest.mark.parametrize("name", DRAWN.charts)
def test_channels_show_fields_of_the_data(name: str) -> None:
    found = list(channels(json.loads(DRAWN.charts[name])))
    assert found
    if name != "map":  # whose points the page's script puts in
        assert all(rows and all(field in row for row in rows) for field, rows in found)


@pytest.mark.slow
def test_vega_lite_compiles_every_chart() -> None:
    for spec in DRAWN.charts.values():
        assert vl_convert.vegalite_to_vega(json.loads(spec))["marks"]


def test_what_there_is_no_data_for_is_not_drawn() -> None:
    bare = sample_charts(sizes=[], curves=[], maps=None)
    assert (set(bare.charts), bare.curve_titles, bare.map_data) == ({"search", "kernels"}, {}, None)


def test_the_listed_trials_are_the_front_the_selected_one_and_the_baseline() -> None:
    assert isinstance(DRAWN, ReportCharts)
    assert {row["kind"] for row in DRAWN.front_rows} == {"front", "selected", "one-shot baseline"}
    assert [row["kl"] for row in DRAWN.front_rows] == sorted(row["kl"] for row in DRAWN.front_rows)
