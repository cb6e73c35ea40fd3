"""Results as rows and words: every rate that both models have, with the comparison that belongs to it."""

from __future__ import annotations

import pytest

from tests.support.report_pages import sample_evaluation, set_scores
from unwrite.report.results import change_text, comparison_of, headline, p_text, result_groups
from unwrite.schema.evaluation import ModelScores


def test_every_set_is_a_group_in_order() -> None:
    extra = {"near_misses": set_scores(0.0)}
    sides = {
        name: ModelScores(target=set_scores(0.5), baseline=set_scores(0.0), sets=extra) for name in ("base", "edited")
    }
    groups = result_groups(sample_evaluation(**sides))
    assert [group.prompts for group in groups] == ["target", "baseline", "near_misses"]
    assert [row.figure for row in groups[0].rows] == ["behaviour rate", "degenerate rate", "reference accuracy"]
    assert groups[0].mean_tokens is None


def test_a_rate_that_only_one_model_has_is_left_out() -> None:
    base = ModelScores(target=set_scores(0.9, reference_accuracy=None), baseline=set_scores(0.0, mean_tokens=3.0))
    edited = ModelScores(target=set_scores(0.9), baseline=set_scores(0.0, mean_tokens=4.0))
    target, baseline = result_groups(sample_evaluation(base=base, edited=edited))
    assert "reference accuracy" not in [row.figure for row in target.rows]
    assert baseline.mean_tokens == (3.0, 4.0)


def test_a_comparison_is_that_of_its_set_and_rate() -> None:
    evaluation = sample_evaluation()
    assert comparison_of(evaluation, "target", "behaviour_rate") == evaluation.comparisons[0]
    assert comparison_of(evaluation, "baseline", "behaviour_rate") is None
    assert comparison_of(evaluation, "target", "degenerate_rate") is None


@pytest.mark.parametrize(
    ("p", "text"), [(0.0, "p < 0.001"), (0.00099, "p < 0.001"), (0.0123, "p = 0.012"), (1, "p = 1")]
)
def test_p_values_are_short(p: float, text: str) -> None:
    assert p_text(p) == text


@pytest.mark.parametrize(("p", "says"), [(2e-9, "significant, p < 0.001"), (0.4, "no significant difference, p = 0.4")])
def test_the_headline_says_what_changed_and_whether_it_counts(p: float, says: str) -> None:
    evaluation = sample_evaluation()
    evaluation = evaluation.model_copy(
        update={"comparisons": [evaluation.comparisons[0].model_copy(update={"p_adjusted": p})]}
    )
    assert headline(evaluation).endswith(f"went from 99.0 % to 1.0 % ({says}).")
    assert change_text(result_groups(evaluation)[0].rows[0]) == says


def test_without_a_comparison_the_headline_claims_none() -> None:
    assert headline(sample_evaluation(comparisons=[])).endswith("went from 99.0 % to 1.0 %.")
    assert change_text(result_groups(sample_evaluation())[1].rows[0]) == ""
