"""Racing: a trial is stopped as soon as it can no longer be chosen (Maron & Moore 1994).

A trial loses if the best trial so far would still be chosen over it. Its KL divergence is measured first and in full.
Its rate can only rise with further tokens and prompts, so what has been seen is a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from typing import NamedTuple

from unwrite.schema.artifacts import Trial

_SETTLED_SHARE = 0.9
"""The share of the base model's responses that must have shown the behaviour before a trial is given up.

Earlier, the lower bound would tell the sampler next to nothing about the rate.
"""


class Standard(NamedTuple):
    """What a trial must beat to be chosen.

    best: the trial that would be chosen so far; None if any trial can still be.
    max_behaviour_rate: highest acceptable behaviour rate.
    """

    best: Trial | None
    max_behaviour_rate: float


ANY_TRIAL = Standard(None, 1.0)
"""The standard that every trial meets."""


def can_be_chosen(standard: Standard, kl: float, least_rate: float) -> bool:
    """Return whether a trial could still be chosen over the best one, by the rule of `selection.best_within`.

    Args:
        standard: what it must beat.
        kl: its KL divergence.
        least_rate: lower bound of its behaviour rate.
    """
    best, highest = standard
    if best is None:
        return True
    if best.behaviour_rate <= highest:
        return least_rate <= highest and kl < best.kl
    return least_rate <= highest or (least_rate, kl) < (best.behaviour_rate, best.kl)


def tokens_before_giving_up(settled: Sequence[int]) -> int:
    """Return how many tokens of each response are generated before a trial may be given up.

    Args:
        settled: after how many tokens each base response showed the behaviour, ascending, at least one.
    """
    return settled[math.ceil(_SETTLED_SHARE * len(settled)) - 1]


class Race:
    """The trials that share forward passes, and which of them are out; mutable."""

    def __init__(self, standard: Standard, divergences: Sequence[float], prompts: int, tokens: int) -> None:
        """Begin with every trial in the race.

        Args:
            standard: what a trial must beat.
            divergences: KL divergence of each trial.
            prompts: n, the number of target prompts; row r belongs to trial r // n.
            tokens: response tokens before which no trial is given up (`tokens_before_giving_up`).
        """
        self._standard = standard
        self._divergences = divergences
        self._prompts = prompts
        self._tokens = tokens
        self._out: set[int] = set()

    def given_up(self, row: int, tokens: int, shown: Set[int]) -> bool:
        """Return whether the trial of a row is out (`evaluation.behaviour.GivenUp`)."""
        trial = row // self._prompts
        # All rows have `_tokens` tokens only when the first of them has one more.
        if trial not in self._out and tokens > self._tokens:
            least = sum(other // self._prompts == trial for other in shown) / self._prompts
            if not can_be_chosen(self._standard, self._divergences[trial], least):
                self._out.add(trial)
        return trial in self._out
