"""From verdicts on the responses of both models to the figures of the evaluation."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from unwrite.core.intervals import wilson_interval
from unwrite.errors import as_user_error
from unwrite.schema.evaluation import Evaluation, Metrics, ModelScores, SetScores, Share, Verdict
from unwrite.terms import SETS, SetName

logger = logging.getLogger(__name__)

Rows = Sequence[Mapping[str, Any]]

COMMON = 0.1
"""A behaviour rate on baseline prompts that casts doubt on whether they lack the behaviour."""

MOSTLY = 0.5
"""A share of responses cut at the limit above which the other figures are those of beginnings."""


def evaluate(
    base: ModelScores, edited: ModelScores, kl_rows: Rows, *, confidence: float, reference_ceiling: float | None
) -> Evaluation:
    """Combine the figures of both models, and warn about those that mislead.

    Args:
        base: scores of the base model.
        edited: scores of the edited model.
        kl_rows: `kl_first_token` and `kl_response` of each baseline prompt, in nats.
        confidence: confidence of the intervals, as they were computed.
        reference_ceiling: reference accuracy before the model had the behaviour; dropped if there are no references.
    """
    if reference_ceiling is not None and base.target.reference_accuracy is None:
        logger.warning("score.reference_ceiling is set, but the target prompts have no references; it is ignored.")
        reference_ceiling = None
    shown = base.baseline.behaviour_rate.value
    if shown > COMMON:
        logger.warning(
            "the base model also shows the behaviour on %.1f %% of the baseline prompts: the direction captures "
            "whatever separates the two prompt sets, which may not be the behaviour.",
            100 * shown,
        )
    _warn_of_cut_responses(base, edited)
    return Evaluation(
        confidence=confidence,
        base=base,
        edited=edited,
        kl_first_token=fmean(row["kl_first_token"] for row in kl_rows),
        kl_response=fmean(row["kl_response"] for row in kl_rows),
        reference_ceiling=reference_ceiling,
    )


def _warn_of_cut_responses(base: ModelScores, edited: ModelScores) -> None:
    shares = [share.value for model in (base, edited) for name in SETS if (share := getattr(model, name).cut_rate)]
    if max(shares, default=0) > MOSTLY:
        logger.warning(
            "generate.max_tokens cuts up to %.1f %% of the responses to a prompt set: what they would go on to say is "
            "not judged. If the behaviour can come late, raise generate.max_tokens and optimize.max_tokens.",
            100 * max(shares),
        )


def score_model(verdicts: Mapping[SetName, Sequence[Verdict]], confidence: float) -> ModelScores:
    """Score one model on both prompt sets.

    Args:
        verdicts: on the responses to each set, as `score_set` takes them.
        confidence: confidence of the intervals, in (0, 1).
    """
    return ModelScores(**{name: score_set(verdicts[name], confidence) for name in SETS})


def score_set(verdicts: Sequence[Verdict], confidence: float) -> SetScores:
    """Score one model on one prompt set.

    Args:
        verdicts: on the response to each prompt, at least one. Reference accuracy counts the prompts that have a
            reference; it is None if none has.
        confidence: confidence of the intervals, in (0, 1).

    Raises:
        UnwriteError: there are no verdicts.
    """
    correct = [verdict.correct for verdict in verdicts if verdict.correct is not None]
    return SetScores(
        behaviour_rate=_share([verdict.shown for verdict in verdicts], confidence),
        degenerate_rate=_share([verdict.degenerate is not None for verdict in verdicts], confidence),
        cut_rate=_share([verdict.cut for verdict in verdicts], confidence),
        reference_accuracy=_share(correct, confidence) if correct else None,
        mean_tokens=fmean(verdict.tokens for verdict in verdicts),
    )


def metrics(evaluation: Evaluation, auc: float) -> Metrics:
    """Return the figures that users compare.

    Args:
        evaluation: all figures of both models.
        auc: how well the best direction separates the prompt sets.
    """
    edited = evaluation.edited
    accuracy = edited.target.reference_accuracy
    return Metrics(
        target=edited.target.behaviour_rate.value,
        target_base=evaluation.base.target.behaviour_rate.value,
        baseline=edited.baseline.behaviour_rate.value,
        degenerate=max(edited.target.degenerate_rate.value, edited.baseline.degenerate_rate.value),
        accuracy=None if accuracy is None else accuracy.value,
        kl_first=evaluation.kl_first_token,
        kl=evaluation.kl_response,
        auc=auc,
    )


def rates_csv_rows(evaluation: Evaluation) -> Iterator[list[object]]:
    """Yield the rows of artifacts/plots/rates.csv: rate (a label), model, set, figure, value, low, high, n."""
    for model_name, model in (("base", evaluation.base), ("edited", evaluation.edited)):
        for set_name in SETS:
            scores: SetScores = getattr(model, set_name)
            for figure in SetScores.model_fields:
                share: Share | float | None = getattr(scores, figure)
                if isinstance(share, Share):
                    label = f"{figure.replace('_', ' ')}, {model_name} model, {set_name} prompts"
                    yield [label, model_name, set_name, figure, share.value, share.low, share.high, share.n]


def _share(hits: Sequence[bool], confidence: float) -> Share:
    with as_user_error("artifacts/verdicts/", "Run `dvc repro -f generate_responses`."):
        low, high = wilson_interval(sum(hits), len(hits), confidence)
    return Share(value=sum(hits) / len(hits), low=low, high=high, n=len(hits))
