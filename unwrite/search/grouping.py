"""Which trials share forward passes: the same ones in one process and in many workers."""

from __future__ import annotations

from collections.abc import Sequence

from unwrite.editing.weights_needed import why_recipe_needs_weights
from unwrite.schema.artifacts import Edit
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.context import EvaluationContext

Edits = Sequence[Edit]


def measured_together(context: EvaluationContext, trials: Sequence[Edits], choice: BackendChoice) -> list[list[int]]:
    """Return the numbers of the trials that are measured together, in order.

    Measured a group at a time, in any process, they give the same results as in one call of `measure_trials`.

    Args:
        context: the context that all measurements share.
        trials: the edits of each trial.
        choice: how trials are measured.
    """
    if choice.backend == "weights":
        return [[number] for number in range(len(trials))]
    return together_on_activations(context, trials, choice.trials_at_once)


def together_on_activations(context: EvaluationContext, trials: Sequence[Edits], at_once: int) -> list[list[int]]:
    """Return the numbers of the trials that share passes on activations; one that needs weights is alone.

    Args:
        context: the context that all measurements share.
        trials: the edits of each trial.
        at_once: trials per forward pass.
    """
    alone = [number for number, edits in enumerate(trials) if why_weights(context, edits) is not None]
    others = [number for number in range(len(trials)) if number not in alone]
    return [
        *([number] for number in alone),
        *(others[first : first + at_once] for first in range(0, len(others), at_once)),
    ]


def why_weights(context: EvaluationContext, edits: Edits) -> str | None:
    """Return why a trial must be edited on weights; None if it need not."""
    return why_recipe_needs_weights(context.model, edits, context.writers, context.cache.norm_preservation)
