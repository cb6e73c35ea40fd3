"""The chart of the maps: colours by set, shapes by split, and data from which every point comes back."""

from __future__ import annotations

import json

from tests.support.report_pages import sample_maps
from unwrite.report.chart_style import FIRST, SECOND
from unwrite.report.map_chart import POINTS, map_chart, map_data
from unwrite.report.residual_maps import residual_maps


def test_sets_and_splits_are_told_apart() -> None:
    spec = map_chart(residual_maps(sample_maps()), "pca").to_dict()
    assert spec["data"] == {"name": POINTS}
    assert spec["encoding"]["color"]["scale"] == {"domain": ["target", "baseline"], "range": [SECOND, FIRST]}
    assert spec["encoding"]["shape"]["scale"]["domain"] == ["train", "validation"]
    assert spec["encoding"]["x"]["title"] == "along the direction"


def test_axes_of_a_layout_by_neighbours_have_no_name() -> None:
    assert map_chart(residual_maps(sample_maps()), "pacmap").to_dict()["encoding"]["x"]["title"] == ""


def test_every_point_comes_back_from_the_data() -> None:
    points = sample_maps(prompts=3)
    data = json.loads(map_data(residual_maps(points)))
    frame = data["frames"][1]
    back = [(*data["groups"][g], n) for g, n in zip(data["group"], data["prompts"], strict=True)]
    assert back == [(one.set, one.split, one.prompt) for one in points[12:24]]
    assert frame["index"] == 1
    assert len(frame["x"]) == 12
