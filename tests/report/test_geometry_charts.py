"""The charts of the geometry: every group of curves, gaps where a figure is not finite, positions told apart."""

from __future__ import annotations

import math

import pytest

from tests.support.report_pages import LAYERS, sample_curves
from unwrite.report.geometry_charts import GROUPS, curve_rows, geometry_charts, log_ticks
from unwrite.schema.geometry_records import GEOMETRY_FIGURES

BY_NAME = {group.name: group for group in GROUPS}


def test_every_curve_is_a_figure_that_the_pipeline_measures() -> None:
    assert {column for group in GROUPS for column in group.columns} <= set(GEOMETRY_FIGURES)


def test_every_group_is_a_chart() -> None:
    assert list(geometry_charts(sample_curves(), [])) == [group.name for group in GROUPS]


def test_a_figure_that_is_not_finite_is_a_gap() -> None:
    curves = sample_curves(separation_train=math.inf)
    rows = curve_rows(curves, BY_NAME["separation"])
    assert {row["curve"] for row in rows} == {"validation prompts"}
    curves[2].figures["separation_validation"] = math.nan
    values = [row["value"] for row in curve_rows(curves, BY_NAME["separation"])]
    assert [value is None for value in values] == [False, False, True, False, False]


def test_a_group_without_values_has_no_chart() -> None:
    curves = sample_curves(silhouette_train=math.nan, silhouette_validation=math.nan)
    assert "silhouette" not in geometry_charts(curves, [])


def test_positions_are_named_only_if_there_are_several() -> None:
    def names(positions: int) -> set[str]:
        return {row["curve"] for row in curve_rows(sample_curves(positions), BY_NAME["auc"])}

    assert names(1) == {"training prompts", "validation prompts"}
    assert names(2) == {f"{one}, position {p}" for one in names(1) for p in (0, 1)}
    assert len(curve_rows(sample_curves(2), BY_NAME["auc"])) == 2 * 2 * (LAYERS + 1)


def test_a_logarithmic_axis_has_no_zero() -> None:
    curves = sample_curves(mean_target_norm=0.0)
    curves[1].figures["mean_target_norm"] = 5.0
    rows = [row for row in curve_rows(curves, BY_NAME["norms"]) if row["curve"] == "target mean"]
    assert [row["value"] for row in rows] == [None, 5.0, None, None, None]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([12.0, 80.0], [10, 20, 50, 100, 200, 500]), ([0.02, 300.0], [0.01, 0.1, 1, 10, 100, 1000])],
)
def test_a_logarithmic_axis_has_a_few_plain_labels(values: list[float], ticks: list[float]) -> None:
    assert log_ticks(values) == pytest.approx(ticks)


def test_up_to_three_indices_of_the_recipe_are_marked() -> None:
    def rules(used: list[float]) -> int:
        layers = geometry_charts(sample_curves(), used)["auc"].to_dict()["layer"]
        return sum(layer["mark"]["type"] == "rule" for layer in layers)

    assert [rules([0.5] * count) for count in (0, 1, 3, 4)] == [0, 1, 1, 0]
