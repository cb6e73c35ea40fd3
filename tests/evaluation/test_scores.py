"""Scores: rates with intervals, mean KL divergences, and warnings about figures that mislead."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.support.samples import sample_verdict
from unwrite.core.intervals import bootstrap_interval
from unwrite.errors import UnwriteError
from unwrite.evaluation.comparisons import compare_models
from unwrite.evaluation.scores import evaluate, metrics, rates_csv_rows, score_model, score_set
from unwrite.schema.evaluation import Metrics, Verdict

KL_ROWS = [{"kl_first_token": 0.1, "kl_response": 0.5}, {"kl_first_token": 0.3, "kl_response": 0.7}]


def test_rates_are_counted() -> None:
    verdicts = [
        sample_verdict(shown=True, correct=False, tokens=9),
        sample_verdict(correct=True, cut=True),
        sample_verdict(degenerate="empty"),
        sample_verdict(correct=True, cut=True),
    ]
    scores = score_set(verdicts, 0.95)
    assert (scores.behaviour_rate.value, scores.behaviour_rate.n) == (0.25, 4)
    assert scores.degenerate_rate.value == 0.25
    assert scores.cut_rate is not None
    assert (scores.cut_rate.value, scores.cut_rate.n) == (0.5, 4)
    assert scores.reference_accuracy is not None
    assert (scores.reference_accuracy.value, scores.reference_accuracy.n) == (2 / 3, 3)
    assert scores.behaviour_rate.low < 0.25 < scores.behaviour_rate.high
    assert scores.mean_tokens == 6


def test_prompts_without_references_have_no_accuracy() -> None:
    assert score_set([sample_verdict()], 0.95).reference_accuracy is None


def verdicts(
    *, shown: bool, on_baseline: bool = False, correct: bool | None = None, **changes: Any
) -> dict[str, list[Verdict]]:
    """Verdicts on a model that gives one response to target and two to baseline prompts."""
    target = sample_verdict(shown=shown, correct=correct, **changes)
    return {"target": [target], "baseline": [sample_verdict(shown=on_baseline)] * 2}


def test_the_evaluation_holds_both_models_and_mean_kl(caplog: pytest.LogCaptureFixture) -> None:
    base, edited = verdicts(shown=True), verdicts(shown=False, correct=True)
    evaluation = evaluate(base, edited, KL_ROWS, confidence=0.95, reference_ceiling=None)
    assert (evaluation.base, evaluation.edited) == (score_model(base, 0.95), score_model(edited, 0.95))
    assert evaluation.comparisons == compare_models(base, edited)
    assert evaluation.kl_first_token == pytest.approx(0.2)
    assert evaluation.kl_response == pytest.approx(0.6)
    assert evaluation.kl_response_interval is not None
    interval = (evaluation.kl_response_interval.low, evaluation.kl_response_interval.high)
    assert interval == bootstrap_interval([0.5, 0.7], 0.95)
    assert caplog.records == []


def test_extra_sets_are_scored_by_name() -> None:
    base = verdicts(shown=True) | {"near": [sample_verdict(shown=True), sample_verdict()]}
    edited = verdicts(shown=False) | {"near": [sample_verdict()] * 2}
    evaluation = evaluate(base, edited, KL_ROWS, confidence=0.95, reference_ceiling=None)
    assert evaluation.base.sets == {"near": score_set(base["near"], 0.95)}
    assert evaluation.edited.sets["near"].behaviour_rate.value == 0
    assert {one.prompts for one in evaluation.comparisons} == {"target", "baseline", "near"}
    assert ["base", "near", "behaviour_rate", 0.5] in [row[1:5] for row in rates_csv_rows(evaluation)]


def test_one_baseline_prompt_has_a_divergence_without_an_interval() -> None:
    base = verdicts(shown=True) | {"baseline": [sample_verdict()]}
    evaluation = evaluate(base, base, KL_ROWS[:1], confidence=0.95, reference_ceiling=None)
    assert (evaluation.kl_response, evaluation.kl_response_interval) == (0.5, None)


def test_an_empty_set_is_an_error() -> None:
    with pytest.raises(UnwriteError, match=r"n at least 1, got 0 of 0\. Run `dvc repro -f generate_responses`"):
        score_set([], 0.95)


def test_divergences_of_other_prompts_are_refused() -> None:
    base = verdicts(shown=True)
    with pytest.raises(UnwriteError, match=r"kl\.jsonl must hold a line for each of the 2 baseline prompts, got 1"):
        evaluate(base, base, KL_ROWS[:1], confidence=0.95, reference_ceiling=None)


@pytest.mark.parametrize(("correct", "kept"), [(True, 0.9), (None, None)])
def test_a_reference_ceiling_needs_references(
    *, correct: bool | None, kept: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    base = verdicts(shown=True, correct=correct)
    assert evaluate(base, base, KL_ROWS, confidence=0.95, reference_ceiling=0.9).reference_ceiling == kept
    assert ("score.reference_ceiling is set" in caplog.text) == (kept is None)


def test_behaviour_on_baseline_prompts_raises_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    base = verdicts(shown=True, on_baseline=True)
    evaluate(base, base, KL_ROWS, confidence=0.95, reference_ceiling=None)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "also shows the behaviour on 100.0 % of the baseline prompts" in caplog.text


def test_rates_are_listed_by_model_set_and_figure() -> None:
    evaluation = evaluate(
        verdicts(shown=True), verdicts(shown=False, correct=True), KL_ROWS, confidence=0.95, reference_ceiling=None
    )
    rows = list(rates_csv_rows(evaluation))
    assert rows[0][0] == "behaviour rate, base model, target prompts"
    assert len({row[0] for row in rows}) == len(rows)
    assert [row[1:5] for row in rows] == [
        ["base", "target", "behaviour_rate", 1.0],
        ["base", "target", "degenerate_rate", 0.0],
        ["base", "target", "cut_rate", 0.0],
        ["base", "baseline", "behaviour_rate", 0.0],
        ["base", "baseline", "degenerate_rate", 0.0],
        ["base", "baseline", "cut_rate", 0.0],
        ["edited", "target", "behaviour_rate", 0.0],
        ["edited", "target", "degenerate_rate", 0.0],
        ["edited", "target", "cut_rate", 0.0],
        ["edited", "target", "reference_accuracy", 1.0],
        ["edited", "baseline", "behaviour_rate", 0.0],
        ["edited", "baseline", "degenerate_rate", 0.0],
        ["edited", "baseline", "cut_rate", 0.0],
    ]
    assert all(row[7] == (1 if row[2] == "target" else 2) for row in rows)


def test_metrics_are_the_figures_of_the_edited_model_and_the_base_rate() -> None:
    edited = {"target": [sample_verdict(correct=True)], "baseline": [sample_verdict(degenerate="loop")] * 2}
    evaluation = evaluate(verdicts(shown=True), edited, KL_ROWS, confidence=0.95, reference_ceiling=None)
    assert metrics(evaluation, auc=0.75) == Metrics(
        target=0.0,
        target_base=1.0,
        baseline=0.0,
        degenerate=1.0,  # of the baseline prompts, which are worse here
        accuracy=1.0,
        kl_first=evaluation.kl_first_token,
        kl=evaluation.kl_response,
        auc=0.75,
    )


def test_metrics_without_references_have_no_accuracy() -> None:
    base = verdicts(shown=True)
    evaluation = evaluate(base, base, KL_ROWS, confidence=0.95, reference_ceiling=None)
    assert metrics(evaluation, auc=1.0).accuracy is None


def test_mostly_cut_responses_raise_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    whole, cut = verdicts(shown=True), verdicts(shown=True, cut=True)
    evaluate(whole, cut, KL_ROWS, confidence=0.95, reference_ceiling=None)
    assert "generate.max_tokens cuts up to 100.0 % of the responses to a prompt set" in caplog.text
    caplog.clear()
    evaluate(whole, whole, KL_ROWS, confidence=0.95, reference_ceiling=None)
    assert caplog.text == ""
