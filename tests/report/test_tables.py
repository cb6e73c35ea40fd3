"""Rates and divergences are shown with their intervals, and fit a terminal."""

from __future__ import annotations

import pytest

from tests.support.published import consistent_evaluation
from unwrite.report.tables import (
    interval_text,
    model_name,
    rate_rows,
    rate_text,
    significant,
    summary_text,
)
from unwrite.schema.artifacts import Base
from unwrite.schema.evaluation import Evaluation, SetScores, Share


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


def test_rate_has_its_interval_and_number_of_responses() -> None:
    share = Share(value=0.97, low=0.9152, high=0.9897, n=100)
    assert rate_text(share) == "97.0 % (91.5–99.0, n = 100)"
    assert interval_text(share) == "97.0 % (91.5–99.0)"


def test_summary_fits_a_terminal_and_has_every_figure(evaluation: Evaluation) -> None:
    text = summary_text(evaluation, "declines questions\nabout tea")
    assert max(map(len, text.splitlines())) <= 80
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert "Behaviour: declines questions about tea" in lines
    assert "target behaviour rate 99.0 % (94.6–99.8) 1.0 % (0.2–5.4) 100" in lines
    assert "baseline behaviour rate 0.0 % (0.0–3.7) 0.0 % (0.0–3.7) 100" in lines
    assert "Best possible target reference accuracy (before the behaviour was added): 99.0 %" in lines
    assert "0.00213 nats at the first response token" in lines
    assert any(line.startswith("0.0151 nats averaged") for line in lines)
    assert "Model: artifacts/model" in lines
    assert "Report: artifacts/report.html" in lines


def test_widest_figures_fit_a_terminal(evaluation: Evaluation) -> None:
    widest = Share(value=1, low=0.9992, high=1, n=5000)
    scores = SetScores(behaviour_rate=widest, degenerate_rate=widest, reference_accuracy=widest)
    models = {
        name: evaluation.base.model_copy(update={"target": scores, "baseline": scores}) for name in ("base", "edited")
    }
    text = summary_text(evaluation.model_copy(update=models))
    assert max(map(len, text.splitlines())) <= 80


def test_summary_leaves_out_what_was_not_measured(evaluation: Evaluation) -> None:
    text = summary_text(without_references(evaluation))
    assert "reference" not in text
    assert "Ceiling" not in text
    assert not text.startswith("Behaviour:")
    assert len(rate_rows(without_references(evaluation))) == 4


def test_extra_sets_changes_and_gates_are_shown_and_fit_a_terminal() -> None:
    evaluation = consistent_evaluation()
    text = summary_text(evaluation)
    assert max(map(len, text.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "near_misses base model edited model n" in lines
    assert "behaviour rate 1.0 % (0.2–5.4) 2.0 % (0.6–7.0) 100" in lines
    changed = " ".join(lines[lines.index(next(one for one in lines if one.startswith("Changed"))) :])
    assert "p < 0.05): target behaviour rate, target reference accuracy  Best possible" in changed
    assert "0.015 nats (0.01–0.03) averaged over the first tokens" in lines
    assert "Gate kept: kl_response must be <= 0.2, got 0.015" in lines
    assert {(one.prompts, one.figure) for one in significant(evaluation)} == {
        ("target", "behaviour_rate"),
        ("target", "reference_accuracy"),
    }


def test_no_change_is_said_and_no_comparison_is_not() -> None:
    evaluation = consistent_evaluation()
    alike = [one.model_copy(update={"p_adjusted": 1.0}) for one in evaluation.comparisons]
    assert "0.05): no rate" in " ".join(summary_text(evaluation.model_copy(update={"comparisons": alike})).split())
    assert "McNemar" not in summary_text(evaluation.model_copy(update={"comparisons": []}))


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
def test_model_name_is_never_an_absolute_path(base: Base, source: str, commit: str | None, name: str) -> None:
    assert model_name(base.model_copy(update={"source": source, "commit": commit})) == name
