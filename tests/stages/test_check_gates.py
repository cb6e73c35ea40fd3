"""A failed gate fails the last stage, names figure, bound and value, and leaves everything that was written."""

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import read_artifact
from unwrite.schema.evaluation import Evaluation
from unwrite.schema.params import Params
from unwrite.schema.paths import EVALUATION, REPORT
from unwrite.stages.check_gates import check_gates
from unwrite.stages.score_responses import score_responses


def with_gates(params: Params, *gates: str) -> Params:
    return params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"gates": gates})})


def test_no_gates_are_said_to_be_none(project: Path, params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    score_responses(with_gates(params))
    check_gates(params)
    assert "There are no gates (evaluate.gates)." in capsys.readouterr().err


def test_kept_gates_pass(project: Path, params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    check_gates(params)
    assert "1 gates are kept." in capsys.readouterr().err


def test_a_failed_gate_is_named_with_its_value_after_everything_is_written(project: Path, params: Params) -> None:
    changed = with_gates(params, "base.target.behaviour_rate <= 0.5", "kl_response >= 0", "kl_response < 0")
    score_responses(changed)
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    assert [gate.passed for gate in evaluation.gates] == [False, True, False]
    with pytest.raises(UnwriteError, match=r"2 of 3 gates failed \(evaluate.gates\)") as error:
        check_gates(changed)
    assert "  base.target.behaviour_rate must be <= 0.5, got 1\n  kl_response must be < 0, got " in str(error.value)


def test_a_gate_waits_for_the_report(project: Path, params: Params) -> None:
    REPORT.unlink()
    with pytest.raises(UnwriteError, match=r"report\.html is missing"):
        check_gates(params)
