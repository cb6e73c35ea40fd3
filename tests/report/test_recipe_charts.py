"""The charts of the recipe: every writer's strength, every edited matrix's size."""

from __future__ import annotations

from typing import Any

from unwrite.report.edit_sizes import TensorSize
from unwrite.report.edit_text import LayerRow, layer_rows
from unwrite.report.recipe_charts import edit_sizes_chart, kernels_chart
from unwrite.schema.artifacts import Base, Recipe


def values(spec: dict[str, Any], layer: int | None = None) -> list[dict[str, Any]]:
    part = spec if layer is None else spec["layer"][layer]
    found: list[dict[str, Any]] = (
        spec["datasets"][part["data"]["name"]] if "name" in part["data"] else part["data"]["values"]
    )
    return found


def test_the_kernel_has_a_point_for_every_writer(recipe: Recipe, base: Base) -> None:
    rows = layer_rows(recipe, base)
    drawn = values(kernels_chart(rows).to_dict(), 2)
    assert len(drawn) == 2 * len(rows)
    assert {(row["component"], row["strength"]) for row in drawn if row["layer"] == 2} == {
        ("attention", 0.6),
        ("MLP", 0.6),
    }


def test_a_layer_without_a_writer_has_no_point() -> None:
    drawn = values(kernels_chart([LayerRow(0, {"attention": None, "mlp": 0.5}, "–")]).to_dict(), 2)
    assert drawn == [{"layer": 0, "component": "MLP", "strength": 0.5}]


def test_sizes_are_those_of_matrices() -> None:
    sizes = [
        TensorSize("a", 0, "attention", False, 2.0, 0.2, 0.1),
        TensorSize("a.bias", 0, "attention", True, 0.1, 0.1, 1.0),
        TensorSize("b", 1, "mlp", False, 2.0, 0.5, 0.25),
    ]
    drawn = values(edit_sizes_chart(sizes).to_dict())
    assert [(row["tensor"], row["component"], row["relative"]) for row in drawn] == [
        ("a", "attention", 0.1),
        ("b", "MLP", 0.25),
    ]
