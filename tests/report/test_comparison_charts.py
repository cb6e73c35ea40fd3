"""The charts of a comparison: both sides' strengths, the cosine of their directions, gaps where there is none."""

from __future__ import annotations

import json
from typing import Any

import vl_convert

from tests.support.samples import sample_edit, sample_recipe, sample_trial, sample_writers
from unwrite.report.comparison_charts import comparison_charts
from unwrite.schema.artifacts import Recipe

DIRECTIONS = [
    {"position": 0, "residual_index": i, "cosine": cosine, "norm_a": 1.0, "norm_b": 2.0}
    for i, cosine in enumerate((None, 0.5, 1.0))
]


def recipe(strength: float) -> Recipe:
    return sample_recipe([sample_edit(writer, strength) for writer in sample_writers(2)], sample_trial())


def rows(spec: str) -> list[dict[str, Any]]:
    (found,) = json.loads(spec)["datasets"].values()
    return list(found)


def test_each_component_shows_both_sides() -> None:
    charts = comparison_charts((recipe(0.5), recipe(1.5)), DIRECTIONS)
    assert list(charts) == ["strength_attention", "strength_mlp", "cosines", "norms"]
    drawn = {(row["side"], row["layer"]): row["value"] for row in rows(charts["strength_mlp"])}
    assert drawn == {("A", 0): 0.5, ("A", 1): 0.5, ("B", 0): 1.5, ("B", 1): 1.5}


def test_a_cosine_that_does_not_exist_is_a_gap() -> None:
    charts = comparison_charts((None, None), DIRECTIONS)
    assert [row["value"] for row in rows(charts["cosines"])] == [None, 0.5, 1.0]
    assert {row["value"] for row in rows(charts["norms"]) if row["side"] == "B"} == {2.0}


def test_what_a_side_lacks_is_not_drawn() -> None:
    assert comparison_charts((None, None), None) == {}
    drawn = rows(comparison_charts((recipe(0.5), None), None)["strength_attention"])
    assert {row["side"] for row in drawn} == {"A"}


def test_vega_lite_compiles_them() -> None:
    for spec in comparison_charts((recipe(0.5), recipe(1.5)), DIRECTIONS).values():
        assert vl_convert.vegalite_to_vega(json.loads(spec))["marks"]
