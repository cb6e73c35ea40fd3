"""Gates are figures with bounds; a figure that does not exist is refused with the nearest ones."""

import pytest
from statsmodels.stats.proportion import proportion_confint

from unwrite.schema.evaluation import Evaluation, SetScores, Share
from unwrite.schema.gates import DIVERGENCES, GATED_RATES, Bound, best_end, check_gate_figure, gate_figures, parse_gate


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("edited.target.behaviour_rate.high <= 0.1", Bound("edited.target.behaviour_rate.high", "<=", 0.1)),
        (" kl_response<2e-1 ", Bound("kl_response", "<", 0.2)),
        ("edited.target.reference_accuracy >= 1", Bound("edited.target.reference_accuracy", ">=", 1.0)),
        ("edited.near.mean_tokens > 5", Bound("edited.near.mean_tokens", ">", 5.0)),
    ],
)
def test_a_gate_is_a_figure_a_comparison_and_a_number(text: str, bound: Bound) -> None:
    assert parse_gate(text) == bound
    assert parse_gate(f"{bound.figure} {bound}") == bound


@pytest.mark.parametrize(
    "text", ["", "kl_response", "kl_response 0.2", "kl_response <= x", "kl <= nan", "kl <= inf", "kl == 1", "<= 1"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a figure, one of <= >= < >, and a number, such as"):
        parse_gate(text)


@pytest.mark.parametrize(
    ("comparison", "holds"), [("<=", [True, True, False]), (">=", [False, True, True]), ("<", [True, False, False])]
)
def test_a_bound_holds_or_not(comparison: str, holds: list[bool]) -> None:
    assert [Bound("x", comparison, 0.2).holds(value) for value in (0.1, 0.2, 0.3)] == holds


def test_every_figure_of_the_evaluation_can_be_named() -> None:
    shares = [name for name, field in SetScores.model_fields.items() if Share in _kinds(field.annotation)]
    assert list(GATED_RATES) == shares
    assert set(DIVERGENCES) <= set(Evaluation.model_fields)
    for figure in ("kl_response.high", "base.baseline.cut_rate.low", "edited.near.mean_tokens"):
        check_gate_figure(figure, ["near"])


@pytest.mark.parametrize(
    ("figure", "hint"),
    [
        ("edited.target.behavior_rate", "did you mean .*edited.target.behaviour_rate"),
        ("edited.far.behaviour_rate", "did you mean .*edited.near.behaviour_rate"),
        ("kl_respond", "did you mean kl_response"),
        ("x", "such as edited.target.behaviour_rate.high"),
    ],
)
def test_an_unknown_figure_is_refused_with_those_that_are_near(figure: str, hint: str) -> None:
    assert figure not in gate_figures(["near"])
    with pytest.raises(ValueError, match=hint):
        check_gate_figure(figure, ["near"])


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("prompts", [1, 10, 100])
def test_the_best_end_of_an_interval_is_that_of_none_or_all(prompts: int, confidence: float) -> None:
    ends = [proportion_confint(count, prompts, 1 - confidence, "wilson") for count in range(prompts + 1)]
    lowest, highest = min(high for _, high in ends), max(low for low, _ in ends)
    assert best_end("edited.near.behaviour_rate.high", prompts, confidence) == pytest.approx(lowest, rel=1e-12)
    assert best_end("base.target.cut_rate.low", prompts, confidence) == pytest.approx(highest, rel=1e-12)


def test_only_the_ends_of_a_rate_have_a_best_value() -> None:
    for figure in ("edited.target.behaviour_rate", "edited.target.mean_tokens", "kl_response.high", "kl_response"):
        assert best_end(figure, 10, 0.95) is None


def _kinds(annotation: object) -> tuple[object, ...]:
    return getattr(annotation, "__args__", (annotation,))
