"""Choose the trial that becomes the recipe: the lowest KL divergence within a behaviour rate, or a named trial."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from unwrite.errors import UnwriteError
from unwrite.report.format import percent
from unwrite.schema.artifacts import Trial
from unwrite.schema.paths import TRIALS

logger = logging.getLogger(__name__)


class Selection(NamedTuple):
    """A chosen trial, and why it was chosen."""

    trial: Trial
    reason: str


def choose_trial(
    trials: Sequence[Trial], front: Sequence[Trial], max_behaviour_rate: float, number: int | None
) -> Selection:
    """Choose the named trial, or else the best trial of the front; warn if that is above the rate.

    Args:
        trials: all measured trials, at least one.
        front: trials that no other trial beats, at least one.
        max_behaviour_rate: highest acceptable behaviour rate.
        number: number of the trial to use, if it is named.

    Raises:
        UnwriteError: the named trial does not exist or has failed.
    """
    if number is not None:
        return Selection(_named(trials, number), "named by number")
    best = best_within(front, max_behaviour_rate)
    aim = percent(max_behaviour_rate)
    if best.behaviour_rate <= max_behaviour_rate:
        return Selection(best, f"lowest KL divergence at a behaviour rate of at most {aim}")
    logger.warning(
        f"no trial reached select.max_behaviour_rate {aim}; the lowest is {percent(best.behaviour_rate)}. "
        "Raise optimize.trials or widen optimize.space."
    )
    return Selection(best, f"lowest behaviour rate; none reached {aim}")


def best_within(trials: Sequence[Trial], max_behaviour_rate: float) -> Trial:
    """Return the trial of lowest KL divergence within the rate; if none is within it, the one of lowest rate.

    Args:
        trials: at least one trial.
        max_behaviour_rate: highest acceptable behaviour rate.
    """
    within = [trial for trial in trials if trial.behaviour_rate <= max_behaviour_rate]
    if within:
        return min(within, key=lambda trial: trial.kl)
    return min(trials, key=lambda trial: (trial.behaviour_rate, trial.kl))


def _named(trials: Sequence[Trial], number: int) -> Trial:
    for trial in trials:
        if trial.number == number:
            return trial
    last = max(trial.number for trial in trials)
    raise UnwriteError(
        f"select.trial is {number}, which is not in {TRIALS} (0–{last}) or was not measured in full there. "
        "Name another trial, or set it to null to select automatically."
    )
