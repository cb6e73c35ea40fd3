"""Figures as text."""

from __future__ import annotations

import pytest

from tests.support.samples import sample_base, sample_edit, sample_layout, sample_recipe, sample_writer
from unwrite.report.tables import (
    direction_text,
    edited_numbers,
    interval_text,
    layer_rows,
    model_name,
    norms_text,
    rate_rows,
    rate_text,
    summary,
)
from unwrite.schema.artifacts import Base, Evaluation, Norm, Recipe, SetScores, Share, Trial


def without_references(evaluation: Evaluation) -> Evaluation:
    def bare(scores: SetScores) -> SetScores:
        return scores.model_copy(update={"reference_accuracy": None})

    models = {
        which: getattr(evaluation, which).model_copy(
            update={name: bare(getattr(getattr(evaluation, which), name)) for name in ("target", "baseline")}
        )
        for which in ("base", "edited")
    }
    return evaluation.model_copy(update={**models, "reference_ceiling": None})


def test_a_rate_carries_its_interval_and_its_n() -> None:
    share = Share(value=0.97, low=0.9152, high=0.9897, n=100)
    assert rate_text(share) == "97.0 % (91.5–99.0, n = 100)"
    assert interval_text(share) == "97.0 % (91.5–99.0)"


def test_the_summary_fits_a_terminal_and_says_everything(evaluation: Evaluation) -> None:
    text = summary(evaluation, "declines questions\nabout tea")
    assert max(map(len, text.splitlines())) <= 80
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert "Behaviour: declines questions about tea" in lines
    assert "target behaviour rate 99.0 % (94.6–99.8) 1.0 % (0.2–5.4) 100" in lines
    assert "baseline behaviour rate 0.0 % (0.0–3.7) 0.0 % (0.0–3.7) 100" in lines
    assert "Ceiling of target reference accuracy, known before the behaviour: 99.0 %" in lines
    assert "0.00213 nats at the first response token" in lines
    assert any(line.startswith("0.0151 nats averaged") for line in lines)
    assert "Model: artifacts/model" in lines
    assert "Report: artifacts/report.html" in lines


def test_the_widest_figures_fit_a_terminal_too(evaluation: Evaluation) -> None:
    widest = Share(value=1, low=0.9992, high=1, n=5000)
    scores = SetScores(behaviour_rate=widest, degenerate_rate=widest, reference_accuracy=widest)
    models = {
        name: evaluation.base.model_copy(update={"target": scores, "baseline": scores}) for name in ("base", "edited")
    }
    text = summary(evaluation.model_copy(update=models))
    assert max(map(len, text.splitlines())) <= 80


def test_what_was_not_measured_is_not_in_the_summary(evaluation: Evaluation) -> None:
    text = summary(without_references(evaluation))
    assert "reference" not in text
    assert "Ceiling" not in text
    assert not text.startswith("Behaviour:")
    assert len(rate_rows(without_references(evaluation))) == 4


def test_layers_show_what_is_edited_left_alone_and_absent(recipe: Recipe, base: Base) -> None:
    no_mlp_at_2 = [w for w in base.writers if (w.layer, w.component) != (2, "mlp")]
    edits = [e for e in recipe.edits if (e.layer, e.component) != (2, "mlp")]
    rows = layer_rows(recipe.model_copy(update={"edits": edits}), base.model_copy(update={"writers": no_mlp_at_2}))
    assert [row.layer for row in rows] == [0, 1, 2, 3]
    assert rows[0].weights == {"attention": 0, "mlp": 0}
    assert rows[0].sources == "–"
    assert rows[2].weights == {"attention": 0.6, "mlp": None}
    assert rows[2].sources == "2.25"


def test_numbers_are_counted_with_biases(recipe: Recipe, base: Base) -> None:
    # Three layers of two weights [8, 16]; the MLP's have a bias [8].
    assert edited_numbers(recipe, base) == 3 * (2 * 8 * 16 + 8)


def test_a_layer_that_shares_a_parameter_shows_its_edit_too() -> None:
    writers = [sample_writer(0, shared_layers=[2]), sample_writer(1)]
    rows = layer_rows(sample_recipe([sample_edit(writers[0], 0.7)]), sample_base(writers, layers=3))
    assert [row.weights["mlp"] for row in rows] == [0.7, 0, 0.7]
    assert [row.sources for row in rows] == ["1.50", "–", "1.50"]


def test_every_expert_is_counted() -> None:
    experts = sample_writer(shape=(5, 8, 3), matrix=sample_layout("e", 1, 5), bias=sample_layout("b", 1, 5))
    assert edited_numbers(sample_recipe([sample_edit(experts)]), sample_base([experts])) == 5 * 8 * 3 + 5 * 8


def test_norms_without_a_scale_need_no_words() -> None:
    norm = Norm(parameter=None, tensor=None, offset=0.0)
    scaled = Norm(parameter="n", tensor="n", offset=1.0)
    for norms, said in (([], None), ([norm], None), ([norm, scaled], "so that v vanishes")):
        writer = sample_writer(norms=norms)
        text = norms_text(sample_recipe([sample_edit(writer)]), sample_base([writer]))
        assert (text is None) == (said is None)
        assert said is None or said in (text or "")
    ignored = sample_edit(writer).model_copy(update={"norms": []})
    assert "left out of account" in (norms_text(sample_recipe([ignored]), sample_base([writer])) or "")


@pytest.mark.parametrize(
    ("source", "commit", "name"),
    [
        ("org/name", "abc", "org/name"),
        ("demo/model", None, "demo/model"),
        ("/somewhere/private/model", None, "model"),
        ("../private/model", None, "model"),
        ("~/private/model", None, "model"),
    ],
)
def test_a_name_never_holds_an_absolute_path(base: Base, source: str, commit: str | None, name: str) -> None:
    assert model_name(base.model_copy(update={"source": source, "commit": commit})) == name


@pytest.mark.parametrize(("scope", "word"), [("global", "2.25"), ("per_layer", "own"), ("spans", "spans")])
def test_the_direction_is_described(recipe: Recipe, scope: str, word: str) -> None:
    assert word in direction_text(recipe.parameters.model_copy(update={"direction_scope": scope}), [recipe.parameters])


def test_the_position_is_named_if_several_were_tried(recipe: Recipe, trials: list[Trial]) -> None:
    parameters = recipe.parameters
    tried = [trial.parameters for trial in trials]
    other = parameters.model_copy(update={"position": 2})
    assert "position" not in direction_text(parameters, tried)
    assert "at prompt position 0 of those stored" in direction_text(parameters, [*tried, other])
