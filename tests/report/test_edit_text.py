"""The edit of a recipe is described layer by layer and in words."""

from __future__ import annotations

import pytest

from tests.support.samples import sample_base, sample_edit, sample_layout, sample_recipe, sample_writer
from unwrite.report.edit_text import direction_text, edited_numbers, layer_rows, norms_text
from unwrite.schema.artifacts import Base, Norm, Recipe, Trial


def test_layer_rows_tell_edited_unedited_and_missing_writers_apart(recipe: Recipe, base: Base) -> None:
    no_mlp_at_2 = [w for w in base.writers if (w.layer, w.component) != (2, "mlp")]
    edits = [e for e in recipe.edits if (e.layer, e.component) != (2, "mlp")]
    rows = layer_rows(recipe.model_copy(update={"edits": edits}), base.model_copy(update={"writers": no_mlp_at_2}))
    assert [row.layer for row in rows] == [0, 1, 2, 3]
    assert rows[0].strengths == {"attention": 0, "mlp": 0}
    assert rows[0].sources == "–"
    assert rows[2].strengths == {"attention": 0.6, "mlp": None}
    assert rows[2].sources == "2.25"


def test_edited_numbers_include_biases(recipe: Recipe, base: Base) -> None:
    # Three layers of two weights [8, 16]; the MLP's have a bias [8].
    assert edited_numbers(recipe, base) == 3 * (2 * 8 * 16 + 8)


def test_layers_that_share_a_parameter_share_its_edit() -> None:
    writers = [sample_writer(0, shared_layers=[2]), sample_writer(1)]
    rows = layer_rows(sample_recipe([sample_edit(writers[0], 0.7)]), sample_base(writers, layers=3))
    assert [row.strengths["mlp"] for row in rows] == [0.7, 0, 0.7]
    assert [row.sources for row in rows] == ["1.50", "–", "1.50"]


def test_edited_numbers_include_every_expert() -> None:
    experts = sample_writer(shape=(5, 8, 3), matrix=sample_layout("e", 1, 5), bias=sample_layout("b", 1, 5))
    assert edited_numbers(sample_recipe([sample_edit(experts)]), sample_base([experts])) == 5 * 8 * 3 + 5 * 8


def test_only_norms_with_a_scale_are_described() -> None:
    norm = Norm(parameter=None, tensor=None, offset=0.0)
    scaled = Norm(parameter="n", tensor="n", offset=1.0)
    for norms, said in (([], None), ([norm], None), ([norm, scaled], "so that v vanishes")):
        writer = sample_writer(norms=norms)
        text = norms_text(sample_recipe([sample_edit(writer)]), sample_base([writer]))
        assert (text is None) == (said is None)
        assert said is None or said in (text or "")
    ignored = sample_edit(writer).model_copy(update={"norms": []})
    assert "its scale was ignored" in (norms_text(sample_recipe([ignored]), sample_base([writer])) or "")


@pytest.mark.parametrize(("scope", "word"), [("global", "2.25"), ("per_layer", "own"), ("spans", "spans")])
def test_direction_is_described(recipe: Recipe, scope: str, word: str) -> None:
    assert word in direction_text(recipe.parameters.model_copy(update={"direction_scope": scope}), [recipe.parameters])


def test_position_is_named_if_several_were_tried(recipe: Recipe, trials: list[Trial]) -> None:
    parameters = recipe.parameters
    tried = [trial.parameters for trial in trials]
    other = parameters.model_copy(update={"position": 2})
    assert "position" not in direction_text(parameters, tried)
    assert "at prompt position 0 of those stored" in direction_text(parameters, [*tried, other])
