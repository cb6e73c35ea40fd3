"""What a comparison finds between two sides that were made to differ, and that it finds nothing else."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.samples import KERNEL, sample_direction, sample_edit, sample_recipe, sample_trial, sample_writer
from unwrite.history.diff import RevisionComparison, Side, compare, comparison_text, flattened
from unwrite.schema.artifacts import Edit, Recipe

STORED = {"directions.winsorize.quantile": 0.995, "directions.center": "mean"}
PARAMETERS = {"residuals.positions": [-1], **STORED}


def tensors(shape: Sequence[int] = (1, 3, 4), seed: int = 0) -> dict[str, Tensor]:
    """Means, and the unit vectors between them."""
    generator = torch.Generator().manual_seed(seed)
    target, baseline = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    directions = torch.nn.functional.normalize(target - baseline, dim=-1)
    return {"directions": directions, "target_mean": target, "baseline_mean": baseline}


def side(name: str = "one", **changes: Any) -> Side:
    """A side that knows everything."""
    fields: dict[str, Any] = {
        "name": name,
        "commit": None,
        "tensors": tensors(),
        "parameters": PARAMETERS,
        "whole": True,
        "recipe": recipe(),
    }
    return Side(**fields | changes)


def recipe(*edits: Edit, **changes: Any) -> Recipe:
    """A recipe of two writers."""
    return sample_recipe(edits or [sample_edit(sample_writer(layer)) for layer in range(2)], **changes)


def changed(**changes: Any) -> RevisionComparison:
    """One side against another with these changes."""
    return compare(side(), side("other", **changes))


def test_nothing_differs_is_said_in_one_line() -> None:
    comparison = changed()
    assert (comparison.identical, comparison.same_directions, comparison.writers_alike) == (True, True, 2)
    assert comparison_text(comparison) == "identical: one and other (directions, parameters, recipe)"


def test_one_line_says_what_was_not_compared() -> None:
    comparison = changed(recipe=None, parameters=STORED, whole=False)
    assert comparison_text(comparison) == (
        "identical: one and other (directions, parameters stored with the tensors; not compared: recipe)"
    )


@pytest.mark.parametrize("name", ["directions", "target_mean", "baseline_mean"])
def test_one_number_more_or_less_is_not_identical(name: str) -> None:
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


def test_turned_and_longer() -> None:
    a, b = tensors(), tensors()
    b["directions"] = -b["directions"]
    b["target_mean"] = b["baseline_mean"] + 2 * (b["target_mean"] - b["baseline_mean"])
    rows = [line.split() for line in comparison_text(compare(side(tensors=a), side(tensors=b))).splitlines()[6:9]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [(str(i), "-1.000000", "2.00000") for i in range(3)]


def test_no_direction_is_a_dash() -> None:
    a, b = tensors(), tensors(seed=1)
    a["directions"][0, 0] = 0
    a["target_mean"][0, 0] = a["baseline_mean"][0, 0]
    comparison = compare(side(tensors=a), side(tensors=b))
    assert comparison.directions is not None
    first = comparison.directions[0]
    assert (first.cosine, first.norm_a, first.norm_ratio) == (None, 0, None)
    row = next(line for line in comparison_text(comparison).splitlines() if line.split()[:2] == ["0", "–"])
    assert row.split()[2] == "0"
    assert row.endswith("–")
    assert all(row.cosine is not None for row in comparison.directions[1:])


def test_directions_that_nearly_agree_show_by_how_much() -> None:
    b = tensors()
    b["directions"][0, 1] += 1e-4 * torch.tensor([1, -1, 1, -1])
    text = comparison_text(changed(tensors=b))
    assert "1 − " in text
    assert text.count("1.000000") == 2


def test_position_has_a_column_only_if_there_are_several() -> None:
    for positions, expected in ((1, False), (2, True)):
        one, other = (side(tensors=tensors((positions, 2, 4), seed)) for seed in (0, 1))
        assert ("position" in comparison_text(compare(one, other))) is expected


def test_another_model_is_said_and_the_rest_compared() -> None:
    comparison = changed(tensors=tensors((1, 5, 8)), parameters=PARAMETERS | {"model.source": "other"})
    assert comparison.directions is None
    assert not comparison.identical
    assert (comparison.a.shape, comparison.b.shape) == ([1, 3, 4], [1, 5, 8])
    text = comparison_text(comparison)
    assert "shape [1, 3, 4] and [1, 5, 8]" in text
    assert "model.source" in text
    assert "edited alike" in text


def test_another_shape_alone_is_not_identical() -> None:
    assert not changed(tensors=tensors((1, 5, 8))).identical


def test_parameters_that_differ() -> None:
    before = {"same": 1, "changed": 0.995, "gone": None, "list": [1, 2], "kind": True, "notation": 1}
    after = {"same": 1, "changed": 0.99, "list": [1, 3], "kind": 1, "notation": 1.0, "new": "text"}
    changes = compare(side(parameters=before), side(parameters=after)).parameters
    assert changes is not None
    assert [(change.name, change.a, change.b, change.only) for change in changes] == [
        ("changed", 0.995, 0.99, None),
        ("gone", None, None, "a"),
        ("list", [1, 2], [1, 3], None),
        ("kind", True, 1, None),
        ("new", None, "text", "b"),
    ]
    rows = [
        line.split() for line in comparison_text(compare(side(parameters=before), side(parameters=after))).split("\n")
    ]
    assert ["gone", "null", "–"] in rows
    assert ["new", "–", '"text"'] in rows
    assert ["kind", "true", "1"] in rows


def test_of_a_side_that_knows_one_section_no_other_is_compared() -> None:
    stored = STORED | {"directions.winsorize.quantile": 0.9}
    for one, other in ((side(), side(parameters=stored, whole=False)), (side(parameters=stored, whole=False), side())):
        comparison = compare(one, other)
        assert comparison.parameters is not None
        assert [change.name for change in comparison.parameters] == ["directions.winsorize.quantile"]
        assert "Parameters stored with the tensors" in comparison_text(comparison)
    both_whole = changed(parameters=stored).parameters
    assert both_whole is not None
    assert [change.name for change in both_whole] == ["residuals.positions", "directions.winsorize.quantile"]


def test_recipe_by_its_own_keys() -> None:
    trial = sample_trial(7, attention=KERNEL.model_copy(update={"max_weight": 1.3}))
    comparison = changed(recipe=recipe(trial=trial, norm_preservation="columns", selection="another rule"))
    assert comparison.recipe is not None
    assert {change.name: (change.a, change.b) for change in comparison.recipe} == {
        "trial.number": (0, 7),
        "parameters.attention.max_weight": (1.2, 1.3),
        "selection": ("named by number", "another rule"),
        "settings.norm_preservation": ("rows", "columns"),
    }
    assert comparison.writers == []
    assert "2 edited alike" in comparison_text(comparison)


def test_writers_that_are_edited_differently() -> None:
    alike, weight, direction, gone, new, norms = (sample_writer(layer) for layer in range(6))
    before = [sample_edit(writer) for writer in (alike, weight, direction, gone, norms)]
    after = [
        sample_edit(alike),
        sample_edit(weight, 0.25),
        sample_edit(direction, direction=sample_direction(2.5, position=1, orthogonalize_to=3)),
        sample_edit(norms).model_copy(update={"bias": norms.matrix}),
        sample_edit(new),
    ]
    comparison = compare(side(recipe=recipe(*before)), side(recipe=recipe(*after)))
    assert comparison.writers is not None
    found = {change.parameter: change for change in comparison.writers}
    assert list(found) == ["1.mlp.weight", "2.mlp.weight", "3.mlp.weight", "5.mlp.weight", "4.mlp.weight"]
    assert comparison.writers_alike == 1
    assert (found["1.mlp.weight"].weight_a, found["1.mlp.weight"].weight_b) == (1.0, 0.25)
    assert found["3.mlp.weight"].weight_b is None
    assert found["4.mlp.weight"].direction_a is None
    assert found["5.mlp.weight"].other == ["bias"]
    text = comparison_text(comparison)
    assert text.endswith("and 1 alike")
    rows = [line.split() for line in text.splitlines()]
    assert ["1.mlp.weight", "1", "0.25", "1.5", "1.5"] in rows
    assert ["3.mlp.weight", "1", "–", "1.5", "–"] in rows
    assert ["5.mlp.weight", "1", "1", "1.5", "1.5", "bias"] in rows
    assert "2.5 ⊥ 3" in text


def test_figures_that_six_digits_do_not_tell_apart_are_written_whole() -> None:
    one, other = (recipe(sample_edit(sample_writer(), weight)) for weight in (1.00000001, 1.00000002))
    text = comparison_text(compare(side(recipe=one), side(recipe=other)))
    assert "1.00000001  1.00000002" in text


def test_every_line_fits_100_columns() -> None:
    long = {"tokenize.template_arguments.a_rather_long_argument": "word " * 30, "tokenize.target": "p/" * 60}
    writers = [
        sample_writer(matrix=sample_writer().matrix.model_copy(update={"parameter": f"model.{'x' * 70}.{i}"}))
        for i in (1, 2)
    ]
    edits = [sample_edit(writer) for writer in writers]
    moved = [sample_edit(writer, 1 / 3, sample_direction(10.123456, 3, 12)) for writer in writers]
    moved = [edit.model_copy(update={"bias": edit.matrix, "layer": 9}) for edit in moved]
    one = side(tensors=tensors((2, 9, 4)), recipe=recipe(*edits))
    other = side("other", tensors=tensors((2, 9, 4), 1), recipe=recipe(*moved, selection="s" * 90), parameters=long)
    lines = comparison_text(compare(one, other)).splitlines()
    assert max(map(len, lines)) <= 100
    assert "".join(line.split()[-1] for line in lines if "p/p/" in line).count("p") == 60  # wrapped, not cut


def test_names_say_which_commit() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    one, other = side("HEAD~1", commit=commit), side(commit[:9], commit=commit, tensors=tensors(seed=1))
    assert comparison_text(compare(one, other)).startswith("a: HEAD~1 (0123456)\nb: 0123456\n")


def test_notes_are_passed_on() -> None:
    comparison = changed(recipe=None, parameters=None, notes=["why not"], tensors=tensors(seed=1))
    assert (comparison.recipe, comparison.writers, comparison.parameters) == (None, None, None)
    assert comparison_text(comparison).endswith("note: why not.")


def test_json_is_json_whatever_the_values() -> None:
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


def test_the_other_way_round() -> None:
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


def test_dotted_keys() -> None:
    nested = {"a": {"b": {"c": 1}, "d": [{"e": 2}]}, "f": {}, "g": None, 1: {True: "x"}}
    assert flattened(nested) == {"a.b.c": 1, "a.d": [{"e": 2}], "f": {}, "g": None, "1.True": "x"}
