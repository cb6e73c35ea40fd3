"""The text of a comparison shows every difference, and fits a terminal."""

from __future__ import annotations

import torch

from tests.support.samples import KERNEL, sample_direction, sample_edit, sample_trial, sample_writer
from tests.support.sides import PARAMETERS, STORED, changed, recipe, side, tensors
from unwrite.history.diff import compare
from unwrite.history.diff_text import comparison_text


def test_identical_sides_are_one_line() -> None:
    comparison = changed()
    assert (comparison.identical, comparison.same_directions, comparison.writers_alike) == (True, True, 2)
    assert comparison_text(comparison) == "identical: one and other (directions, parameters, recipe)"


def test_one_line_names_what_was_not_compared() -> None:
    comparison = changed(recipe=None, parameters=STORED, whole=False)
    assert comparison_text(comparison) == (
        "identical: one and other (directions, parameters stored with the tensors; not compared: recipe)"
    )


def test_turned_and_longer_directions_are_shown() -> None:
    a, b = tensors(), tensors()
    b["directions"] = -b["directions"]
    b["target_mean"] = b["baseline_mean"] + 2 * (b["target_mean"] - b["baseline_mean"])
    rows = [line.split() for line in comparison_text(compare(side(tensors=a), side(tensors=b))).splitlines()[6:9]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [(str(i), "-1.000000", "2.00000") for i in range(3)]


def test_missing_direction_is_a_dash() -> None:
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


def test_nearly_equal_directions_show_their_distance() -> None:
    b = tensors()
    b["directions"][0, 1] += 1e-4 * torch.tensor([1, -1, 1, -1])
    text = comparison_text(changed(tensors=b))
    assert "1 − " in text
    assert text.count("1.000000") == 2


def test_position_has_a_column_only_if_there_are_several() -> None:
    for positions, expected in ((1, False), (2, True)):
        one, other = (side(tensors=tensors((positions, 2, 4), seed)) for seed in (0, 1))
        assert ("position" in comparison_text(compare(one, other))) is expected


def test_another_model_is_noted_and_the_rest_compared() -> None:
    comparison = changed(tensors=tensors((1, 5, 8)), parameters=PARAMETERS | {"model.source": "other"})
    assert comparison.directions is None
    assert not comparison.identical
    assert (comparison.a.shape, comparison.b.shape) == ([1, 3, 4], [1, 5, 8])
    text = comparison_text(comparison)
    assert "shapes [1, 3, 4] and [1, 5, 8]" in text
    assert "model.source" in text
    assert "edited alike" in text


def test_changed_parameters_are_listed() -> None:
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


def test_only_sections_that_both_sides_know_are_compared() -> None:
    stored = STORED | {"directions.winsorize.quantile": 0.9}
    for one, other in ((side(), side(parameters=stored, whole=False)), (side(parameters=stored, whole=False), side())):
        comparison = compare(one, other)
        assert comparison.parameters is not None
        assert [change.name for change in comparison.parameters] == ["directions.winsorize.quantile"]
        assert "Parameters stored with the tensors" in comparison_text(comparison)
    both_whole = changed(parameters=stored).parameters
    assert both_whole is not None
    assert [change.name for change in both_whole] == ["residuals.positions", "directions.winsorize.quantile"]


def test_changed_recipe_is_listed_by_its_own_keys() -> None:
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


def test_writers_edited_differently_are_listed() -> None:
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
    assert (found["1.mlp.weight"].strength_a, found["1.mlp.weight"].strength_b) == (1.0, 0.25)
    assert found["3.mlp.weight"].strength_b is None
    assert found["4.mlp.weight"].direction_a is None
    assert found["5.mlp.weight"].other == ["bias"]
    text = comparison_text(comparison)
    assert text.endswith("and 1 alike")
    rows = [line.split() for line in text.splitlines()]
    assert ["1.mlp.weight", "1", "0.25", "1.5", "1.5"] in rows
    assert ["3.mlp.weight", "1", "–", "1.5", "–"] in rows
    assert ["5.mlp.weight", "1", "1", "1.5", "1.5", "bias"] in rows
    assert "2.5 ⊥ 3" in text


def test_floats_equal_to_six_digits_are_written_in_full() -> None:
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


def test_names_include_the_commit() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    one, other = side("HEAD~1", commit=commit), side(commit[:9], commit=commit, tensors=tensors(seed=1))
    assert comparison_text(compare(one, other)).startswith("a: HEAD~1 (0123456)\nb: 0123456\n")


def test_notes_are_shown() -> None:
    comparison = changed(recipe=None, parameters=None, notes=["why not"], tensors=tensors(seed=1))
    assert (comparison.recipe, comparison.writers, comparison.parameters) == (None, None, None)
    assert comparison_text(comparison).endswith("note: why not.")
