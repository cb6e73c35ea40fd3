"""Comparisons, intervals and gates of a release follow from its rates, counts and parameters, or are refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.support.published import consistent_evaluation
from unwrite.release.comparison_checks import conclusion_problems
from unwrite.schema.evaluation import Evaluation

GATES = ["kl_response <= 0.2", "edited.target.behaviour_rate.high <= 0.1"]


def problems(*place: Any, value: object = None, gates: list[str] | None = None) -> str:
    """The problems of a consistent evaluation with one value changed."""
    values: Any = consistent_evaluation().model_dump(mode="json")
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    if place:
        inner[place[-1]] = value
    return "\n".join(conclusion_problems(Evaluation.model_validate(values), {} if gates is None else {"gates": gates}))


def test_an_honest_evaluation_has_no_problem() -> None:
    assert problems() == ""
    assert len(consistent_evaluation().comparisons) == 12


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["comparisons", 0, "only_base"], 97, "counts 97 and 1, but the rates differ by 95 responses"),
        (["comparisons", 0, "only_edited"], 9, "counts 96 and 9"),
        (["comparisons", 0, "only_base"], -1, "counts -1 and 1"),
        (["comparisons", 0, "n"], 99, "is over 99 prompts, its rates over 100 and 100"),
        (["comparisons", 0, "p"], 0.5, "p of behaviour_rate on target prompts is 0.5, but the counts give"),
        (["comparisons", 1, "p_adjusted"], 0.01, "p_adjusted of degenerate_rate on target prompts is 0.01"),
        (["comparisons", 0, "figure"], "charm", "has no such rates"),
        (["comparisons", 0, "prompts"], "others", "has no such rates"),
        (["kl_response_interval", "low"], 0.5, "kl_response has the interval 0.5–0.03"),
        (["gates", 0, "value"], 0.0, "do not follow from the figures"),
        (["gates", 0, "passed"], False, "do not follow from the figures"),
        (["gates", 0, "bound"], "<= 0.01", "do not follow from the figures"),
        (["gates", 0, "figure"], "charm", "the gates cannot be checked"),
    ],
)
def test_a_changed_value_is_a_problem(place: list[Any], value: object, message: str) -> None:
    assert message in problems(*place, value=value)


def test_gates_are_those_of_the_parameters() -> None:
    assert "not those of the parameters" in problems(gates=GATES)
    assert "cannot be checked" in problems(gates=["charm"])


def test_a_comparison_left_out_changes_the_correction() -> None:
    evaluation = consistent_evaluation()
    fewer = evaluation.model_copy(update={"comparisons": evaluation.comparisons[:2]})
    assert any("p_adjusted" in line for line in conclusion_problems(fewer, {}))


def test_without_scipy_the_counts_are_checked_and_p_values_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = consistent_evaluation()
    first = evaluation.comparisons[0]
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    for change, message in (({"p": 0.5}, ""), ({"only_base": 97}, "the rates differ")):
        changed = evaluation.model_copy(update={"comparisons": [first.model_copy(update=change)]})
        assert message in "\n".join(conclusion_problems(changed, {}))
        assert message or not list(conclusion_problems(changed, {}))
