"""Both models on the same prompts are compared rate by rate and set by set, and the p-values corrected together."""

import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from tests.support.samples import sample_verdict
from unwrite.errors import UnwriteError
from unwrite.evaluation.comparisons import PROPERTIES, compare_models
from unwrite.schema.evaluation import SetScores, Share, Verdict


def verdicts(shown: str, correct: str = "") -> list[Verdict]:
    """One verdict per character of `shown`: x shows the behaviour; of `correct`: x is right, . is wrong, ? unknown."""
    right = {"x": True, ".": False, "?": None}
    return [
        sample_verdict(shown=one == "x", correct=right[other])
        for one, other in zip(shown, correct or "?" * len(shown), strict=True)
    ]


def test_prompts_are_compared_in_pairs() -> None:
    base = {"target": verdicts("xxxxxxxx..", "........xx"), "baseline": verdicts("...")}
    edited = {"target": verdicts("x........x", "?xxxxxxx.x"), "baseline": verdicts("...")}
    found = {(one.prompts, one.figure): one for one in compare_models(base, edited)}
    behaviour = found["target", "behaviour_rate"]
    assert (behaviour.n, behaviour.only_base, behaviour.only_edited) == (10, 7, 1)
    accuracy = found["target", "reference_accuracy"]
    assert (accuracy.n, accuracy.only_base, accuracy.only_edited) == (9, 1, 7)  # the first has no answer
    assert ("baseline", "reference_accuracy") not in found
    assert found["baseline", "behaviour_rate"].p == 1
    for one in found.values():
        table = [[one.n - one.only_base - one.only_edited, one.only_base], [one.only_edited, 0]]
        assert one.p == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)
    adjusted = multipletests([one.p for one in found.values()], method="holm")[1]
    assert [one.p_adjusted for one in found.values()] == pytest.approx(list(adjusted), abs=1e-9)


def test_the_same_rates_on_other_prompts_differ_and_on_the_same_prompts_do_not() -> None:
    one, other = {"target": verdicts("xxxx....")}, {"target": verdicts("....xxxx")}
    assert (compare_models(one, one)[0].only_base, compare_models(one, other)[0].only_base) == (0, 4)


def test_one_prompt_says_nothing() -> None:
    assert compare_models({"target": verdicts("x")}, {"target": verdicts(".")})[0].p == 1


@pytest.mark.parametrize("edited", [{"target": verdicts("x.")}, {}])
def test_models_that_answered_other_prompts_are_refused(edited: dict[str, list[Verdict]]) -> None:
    with pytest.raises(UnwriteError, match=r"each of the target prompts, got 3 for the base and [20] for the edited"):
        compare_models({"target": verdicts("x..")}, edited)


def test_every_rate_is_compared() -> None:
    rates = [name for name, field in SetScores.model_fields.items() if Share in _kinds(field.annotation)]
    assert list(PROPERTIES) == rates


def _kinds(annotation: object) -> tuple[object, ...]:
    return getattr(annotation, "__args__", (annotation,))
