"""The report and the card state the same facts."""

from __future__ import annotations

from tests.support.samples import sample_front
from unwrite.report.edit_text import NORMS, edited_numbers
from unwrite.report.facts import edit_facts
from unwrite.report.tables import rate_rows
from unwrite.schema.artifacts import Base, Recipe, Trial
from unwrite.schema.evaluation import Evaluation


def test_facts_are_those_of_the_records(
    base: Base, recipe: Recipe, evaluation: Evaluation, trials: list[Trial]
) -> None:
    front = sample_front(trials)
    facts = edit_facts(base=base, recipe=recipe, evaluation=evaluation, front=front, trials=trials)
    assert (facts["base"], facts["recipe"], facts["evaluation"], facts["front"]) == (base, recipe, evaluation, front)
    assert facts["rates"] == rate_rows(evaluation)
    assert facts["norms"] == NORMS[recipe.settings.norm_preservation]
    assert facts["numbers"] == edited_numbers(recipe, base)
    assert "2.25" in facts["direction"]


def test_position_is_stated_only_if_trials_differ_in_it(
    base: Base, recipe: Recipe, evaluation: Evaluation, trials: list[Trial]
) -> None:
    other = trials[0].model_copy(update={"parameters": trials[0].parameters.model_copy(update={"position": 2})})
    front = sample_front(trials)
    for tried, stated in ((trials, False), ([*trials, other], True)):
        facts = edit_facts(base=base, recipe=recipe, evaluation=evaluation, front=front, trials=tried)
        assert ("at prompt position" in facts["direction"]) == stated
