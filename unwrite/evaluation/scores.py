"""From verdicts on the responses of both models to the figures of the evaluation."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from unwrite.core.intervals import bootstrap_interval
from unwrite.errors import UnwriteError
from unwrite.evaluation.calibration import calibrate, warn_of_poor_agreement
from unwrite.evaluation.comparisons import PROPERTIES, compare_models
from unwrite.evaluation.shares import share_of
from unwrite.schema.evaluation import (
    ClassifierUsed,
    Evaluation,
    Interval,
    Metrics,
    ModelScores,
    SetScores,
    Share,
    Verdict,
)

logger = logging.getLogger(__name__)

Rows = Sequence[Mapping[str, Any]]
Verdicts = Mapping[str, Sequence[Verdict]]
"""The verdicts on one model's responses, by prompt set, in the order of the prompts."""

COMMON = 0.1
"""A behaviour rate on baseline prompts that casts doubt on whether they lack the behaviour."""

MOSTLY = 0.5
"""A share of responses cut at the limit above which the other figures are those of beginnings."""


def evaluate(
    base: Verdicts,
    edited: Verdicts,
    kl_rows: Rows,
    *,
    confidence: float,
    reference_ceiling: float | None,
    classifier: ClassifierUsed | None = None,
) -> Evaluation:
    """Score and compare both models, and warn about figures that mislead.

    Args:
        base: verdicts on the base model's responses to the target, the baseline and any extra prompts.
        edited: the same of the edited model.
        kl_rows: `kl_first_token` and `kl_response` of each baseline prompt, in nats.
        confidence: confidence of all intervals, in (0, 1).
        reference_ceiling: reference accuracy before the model had the behaviour; dropped if there are no references.
        classifier: the classifier whose verdicts the rates count; None for the markers'.

    Raises:
        UnwriteError: a prompt set is empty, or the models and the divergences are not of the same prompts.
    """
    if len(kl_rows) != len(base["baseline"]):
        raise UnwriteError(
            f"artifacts/responses/kl.jsonl must hold a line for each of the {len(base['baseline'])} baseline prompts, "
            f"got {len(kl_rows)}. Run `dvc repro -f generate_responses`."
        )
    comparisons = compare_models(base, edited)
    before, after = score_model(base, confidence), score_model(edited, confidence)
    if reference_ceiling is not None and before.target.reference_accuracy is None:
        logger.warning("score.reference_ceiling is set, but the target prompts have no references; it is ignored.")
        reference_ceiling = None
    _warn_of_behaviour_on_baseline(before)
    _warn_of_cut_responses(before, after)
    judged = [verdict for model in (base, edited) for verdicts in model.values() for verdict in verdicts]
    calibration = calibrate(judged, confidence)
    if calibration is not None:
        warn_of_poor_agreement(calibration)
    first_token, response = ([row[name] for row in kl_rows] for name in ("kl_first_token", "kl_response"))
    return Evaluation(
        confidence=confidence,
        judge="markers" if classifier is None else "classifier",
        classifier=classifier,
        own_markers=[] if classifier is None else [name for name, rows in base.items() if rows[0].classifier is None],
        base=before,
        edited=after,
        kl_first_token=fmean(first_token),
        kl_first_token_interval=_interval_of_mean(first_token, confidence),
        kl_response=fmean(response),
        kl_response_interval=_interval_of_mean(response, confidence),
        reference_ceiling=reference_ceiling,
        comparisons=comparisons,
        calibration=calibration,
    )


def _warn_of_behaviour_on_baseline(base: ModelScores) -> None:
    shown = base.baseline.behaviour_rate.value
    if shown > COMMON:
        logger.warning(
            "the base model also shows the behaviour on %.1f %% of the baseline prompts: the direction captures "
            "whatever separates the two prompt sets, which may not be the behaviour.",
            100 * shown,
        )


def _warn_of_cut_responses(base: ModelScores, edited: ModelScores) -> None:
    scores = [one for model in (base, edited) for one in model.by_set().values()]
    most = max(share.value for one in scores if (share := one.cut_rate) is not None)
    if most > MOSTLY:
        logger.warning(
            "generate.max_tokens cuts up to %.1f %% of the responses to a prompt set: what they would go on to say is "
            "not judged. If the behaviour can come late, raise generate.max_tokens and optimize.max_tokens.",
            100 * most,
        )


def score_model(verdicts: Verdicts, confidence: float) -> ModelScores:
    """Score one model on every prompt set.

    Args:
        verdicts: on the responses to each set, target and baseline among them, as `score_set` takes them.
        confidence: confidence of the intervals, in (0, 1).
    """
    scores = {name: score_set(rows, confidence) for name, rows in verdicts.items()}
    return ModelScores(target=scores.pop("target"), baseline=scores.pop("baseline"), sets=scores)


def score_set(verdicts: Sequence[Verdict], confidence: float) -> SetScores:
    """Score one model on one prompt set.

    Args:
        verdicts: on the response to each prompt, at least one. Reference accuracy counts the prompts that have a
            reference; it is None if none has.
        confidence: confidence of the intervals, in (0, 1).

    Raises:
        UnwriteError: there are no verdicts.
    """
    counted = {
        figure: [hit for verdict in verdicts if (hit := holds(verdict)) is not None]
        for figure, holds in PROPERTIES.items()
    }
    correct = counted["reference_accuracy"]
    return SetScores(
        behaviour_rate=share_of(counted["behaviour_rate"], confidence),
        degenerate_rate=share_of(counted["degenerate_rate"], confidence),
        cut_rate=share_of(counted["cut_rate"], confidence),
        reference_accuracy=share_of(correct, confidence) if correct else None,
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
        for set_name, scores in model.by_set().items():
            for figure in SetScores.model_fields:
                share: Share | float | None = getattr(scores, figure)
                if isinstance(share, Share):
                    label = f"{figure.replace('_', ' ')}, {model_name} model, {set_name} prompts"
                    yield [label, model_name, set_name, figure, share.value, share.low, share.high, share.n]


def _interval_of_mean(values: Sequence[float], confidence: float) -> Interval | None:
    interval = bootstrap_interval(values, confidence)
    return None if interval is None else Interval(low=interval[0], high=interval[1])
