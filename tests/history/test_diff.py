"""A comparison finds the differences between two sides, and no others."""

from __future__ import annotations

import json
import math

import pytest

from tests.support.samples import sample_edit, sample_writer
from tests.support.sides import changed, recipe, side, tensors
from unwrite.history.diff import compare


@pytest.mark.parametrize("name", ["directions", "target_mean", "baseline_mean"])
def test_one_changed_value_is_not_identical(name: str) -> None:
    other = tensors()
    other[name][0, 1, 2] += 1e-7
    comparison = changed(tensors=other)
    assert not comparison.identical
    assert not comparison.same_directions


def test_cosine_and_ratio_at_every_position_and_index() -> None:
    a, b = tensors((2, 3, 4)), tensors((2, 3, 4), seed=1)
    rows = compare(side(tensors=a), side(tensors=b)).directions
    assert rows is not None
    assert [(row.position, row.residual_index) for row in rows] == [(p, i) for p in range(2) for i in range(3)]
    for row in rows:
        one, other = ({name: t[row.position, row.residual_index] for name, t in side.items()} for side in (a, b))
        norm_a, norm_b = (math.dist(x["target_mean"].tolist(), x["baseline_mean"].tolist()) for x in (one, other))
        assert row.cosine == pytest.approx(float(one["directions"] @ other["directions"]))
        assert (row.norm_a, row.norm_b, row.norm_ratio) == pytest.approx((norm_a, norm_b, norm_b / norm_a))


def test_another_shape_alone_is_not_identical() -> None:
    assert not changed(tensors=tensors((1, 5, 8))).identical


def test_comparison_is_valid_json_whatever_the_values() -> None:
    a = tensors()
    a["directions"][0, 0] = 0
    one = side(tensors=a, parameters={"x.y": float("inf"), "x.z": None})
    comparison = compare(one, side(tensors=tensors(seed=1), parameters={"x.y": 1.0, "x.z": {}}))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(comparison.model_dump_json(), parse_constant=refuse)
    assert read["directions"][0]["cosine"] is None
    assert read["parameters"][1] == {"name": "x.z", "a": None, "b": {}, "only": None}
    assert read["identical"] is False


def test_comparison_the_other_way_round_mirrors_it() -> None:
    one = side(parameters={"a": 1, "b": 2})
    other = side(
        tensors=tensors(seed=1), parameters={"b": 3, "c": 4}, recipe=recipe(sample_edit(sample_writer(1), 2.0))
    )
    there, back = compare(one, other), compare(other, one)
    assert there.directions is not None
    assert back.directions is not None
    for row, mirrored in zip(there.directions, back.directions, strict=True):
        assert row.cosine == pytest.approx(mirrored.cosine)
        assert row.norm_ratio == pytest.approx(1 / (mirrored.norm_ratio or math.nan))
    assert there.parameters is not None
    assert back.parameters is not None
    assert {(c.name, c.only) for c in there.parameters} == {("a", "a"), ("b", None), ("c", "b")}
    assert {(c.name, c.only) for c in back.parameters} == {("a", "b"), ("b", None), ("c", "a")}
    assert there.writers_alike == back.writers_alike == 0
