"""From responses under interventions to the rates of a causal check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from unwrite.core.degeneration import degeneration_of
from unwrite.core.markers import shows_behaviour
from unwrite.evaluation.interventions import Planned
from unwrite.evaluation.shares import share_of
from unwrite.schema.evaluation import CausalRate


class Responses(NamedTuple):
    """The responses of one run with their verdicts."""

    run: Planned
    texts: list[str]
    shown: list[bool]
    degenerate: list[bool]


def judged(run: Planned, texts: Sequence[str], markers: Sequence[str]) -> Responses:
    """Judge the responses of a run by markers.

    Raises:
        ValueError: as in `shows_behaviour`.
    """
    shown = [shows_behaviour(text, markers) for text in texts]
    return Responses(run, list(texts), shown, [degeneration_of(text) is not None for text in texts])


def causal_rate(responses: Responses, untouched: Responses, confidence: float) -> CausalRate:
    """Compute the rates of a run.

    Args:
        responses: of this run.
        untouched: of the model as it is, to the same prompts.
        confidence: of the intervals.
    """
    run = responses.run
    same = [a == b for a, b in zip(responses.texts, untouched.texts, strict=True)]
    return CausalRate(
        prompts=run.prompts,
        intervention=run.intervention,
        vector=run.vector,
        seed=run.seed,
        length=run.length,
        behaviour_rate=share_of(responses.shown, confidence),
        degenerate_rate=share_of(responses.degenerate, confidence),
        same_responses=share_of(same, confidence),
    )
