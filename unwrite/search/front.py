"""The trials of a search that no other beats, and the record of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from unwrite.schema.artifacts import EditSettings, Front, Trial
from unwrite.schema.params import Optimize
from unwrite.search.selection import best_within
from unwrite.search.space import one_shot_settings
from unwrite.search.trials import TrialOutcome, describe_trial, trial_of

logger = logging.getLogger(__name__)


def build_front(
    outcomes: Sequence[TrialOutcome], optimize: Optimize, settings: EditSettings, *, base_rate: float, layers: int
) -> Front:
    """Return the record of a finished search, and log its best trials.

    Args:
        outcomes: every trial of the search.
        optimize: section `optimize` of params.yaml.
        settings: settings that all trials share.
        base_rate: behaviour rate of the base model.
        layers: L.
    """
    one_shots = outcomes[: len(one_shot_settings(optimize.space, layers=layers))]
    one_shot = best_trial(one_shots, optimize.max_behaviour_rate)
    if one_shots:
        logger.info(f"Best one-shot setting, without a search: {describe_trial(one_shot)}.")
    best = best_trial(outcomes, optimize.max_behaviour_rate)
    logger.info(f"Best of {len(outcomes)} trials: {describe_trial(best)}.")
    return Front(
        settings=settings,
        kl_tokens=optimize.kl_tokens,
        base_behaviour_rate=base_rate,
        one_shot=one_shot,
        trials=pareto_front(outcomes),
    )


def pareto_front(outcomes: Sequence[TrialOutcome]) -> list[Trial]:
    """Return the trials that no other beats, by rising behaviour rate and so by falling KL divergence.

    Of trials equal in both objectives, the first counts.
    """
    front: list[Trial] = []
    measured = [trial for outcome in outcomes if (trial := trial_of(outcome)) is not None]
    for trial in sorted(measured, key=lambda t: (t.behaviour_rate, t.kl, t.number)):
        if not front or trial.kl < front[-1].kl:
            front.append(trial)
    return front


def best_trial(outcomes: Sequence[TrialOutcome], max_behaviour_rate: float) -> Trial | None:
    """Return the best trial by the rule of `best_within`; None if no trial was measured."""
    front = pareto_front(outcomes)
    return best_within(front, max_behaviour_rate) if front else None
