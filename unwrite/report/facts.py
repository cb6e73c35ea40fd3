"""The facts about an edit that the report and the model card share, as arguments of their templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unwrite.report.edit_text import NORMS, direction_text, edited_numbers, norms_text
from unwrite.report.tables import model_name, rate_rows
from unwrite.schema.artifacts import Base, Front, Recipe, Trial
from unwrite.schema.evaluation import Evaluation


def edit_facts(
    *, base: Base, recipe: Recipe, evaluation: Evaluation, front: Front, trials: Sequence[Trial]
) -> dict[str, Any]:
    """Return the records themselves, and what both templates state about them.

    Args:
        base: the pinned model.
        recipe: the edit.
        evaluation: both models on the test split.
        front: what is common to all trials.
        trials: the trials to compare the selected one with.
    """
    return {
        "base": base,
        "recipe": recipe,
        "evaluation": evaluation,
        "front": front,
        "model": model_name(base),
        "rates": rate_rows(evaluation),
        "direction": direction_text(recipe.parameters, [trial.parameters for trial in trials]),
        "norms": NORMS[recipe.settings.norm_preservation],
        "post_norms": norms_text(recipe, base),
        "numbers": edited_numbers(recipe, base),
    }
