"""Gates find their figures in an evaluation, and say whether these keep the bounds."""

import pytest

from tests.support.published import consistent_evaluation
from unwrite.errors import UnwriteError
from unwrite.schema.gate_values import evaluated_gates, figure_value, gate_text
from unwrite.schema.gates import gate_figures


def test_every_figure_that_a_gate_can_name_has_its_value() -> None:
    evaluation = consistent_evaluation()
    values = {figure: figure_value(evaluation, figure) for figure in gate_figures(["near_misses"])}
    assert None not in values.values()
    target = evaluation.edited.target
    assert values["edited.target.behaviour_rate"] == target.behaviour_rate.value
    assert values["edited.target.behaviour_rate.high"] == target.behaviour_rate.high
    assert values["edited.near_misses.mean_tokens"] == evaluation.edited.sets["near_misses"].mean_tokens
    assert (values["kl_response"], values["kl_response.low"]) == (0.015, 0.01)


def test_a_gate_is_kept_or_failed_and_says_so() -> None:
    kept, failed = evaluated_gates(consistent_evaluation(), ["kl_response <= 0.2", "kl_response.high<0.02"])
    assert (kept.passed, failed.passed) == (True, False)
    assert gate_text(failed) == "kl_response.high must be < 0.02, got 0.03"


@pytest.mark.parametrize(
    "gate", ["kl_response.high <= 1", "edited.target.reference_accuracy >= 0.5", "edited.far.cut_rate < 1"]
)
def test_a_gate_on_a_figure_that_was_not_measured_is_refused(gate: str) -> None:
    evaluation = consistent_evaluation()
    target = evaluation.edited.target.model_copy(update={"reference_accuracy": None})
    edited = evaluation.edited.model_copy(update={"target": target})
    without = evaluation.model_copy(update={"kl_response_interval": None, "edited": edited})
    with pytest.raises(UnwriteError, match=r"must have a value, but it was not measured .*\. Remove that gate"):
        evaluated_gates(without, [gate])
