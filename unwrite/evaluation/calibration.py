"""The classifier's verdicts next to the markers': which one counts, how far they agree, and where they do not."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from unwrite.evaluation.shares import share_of
from unwrite.schema.evaluation import Calibration, Verdict

logger = logging.getLogger(__name__)

_MODERATE = 0.6
"""Cohen's kappa above which agreement counts as substantial (Landis and Koch 1977)."""


def with_classifier(verdict: Verdict, probability: float, threshold: float) -> Verdict:
    """Return a verdict of the markers with the classifier's beside it, which then is the one that counts.

    Args:
        verdict: the verdict of the markers.
        probability: what the classifier gives to the behaviour.
        threshold: the probability from which on the response shows it.
    """
    shown = probability >= threshold
    return verdict.model_copy(update={"shown": shown, "classifier": shown, "probability": probability})


def calibrate(verdicts: Sequence[Verdict], confidence: float) -> Calibration | None:
    """Compare the verdicts of both judges; None without a classifier.

    Args:
        verdicts: on every stored response.
        confidence: confidence of the intervals, in (0, 1).
    """
    judged = [(verdict.markers, verdict.classifier) for verdict in verdicts if verdict.classifier is not None]
    if not judged:
        return None
    found, meant = ([pair[judge] for pair in judged] for judge in (0, 1))
    confirmed = [right for mark, right in judged if mark]
    recalled = [mark for mark, right in judged if right]
    return Calibration(
        both=sum(confirmed),
        markers_only=len(confirmed) - sum(confirmed),
        classifier_only=len(recalled) - sum(recalled),
        neither=sum(not mark and not right for mark, right in judged),
        agreement=share_of([mark == right for mark, right in judged], confidence),
        kappa=_kappa(found, meant),
        precision=share_of(confirmed, confidence) if confirmed else None,
        recall=share_of(recalled, confidence) if recalled else None,
    )


def warn_of_poor_agreement(calibration: Calibration) -> None:
    """Warn if the judges differ so much that the search aimed at another thing than the rates count."""
    if calibration.kappa is not None and calibration.kappa < _MODERATE:
        logger.warning(
            "markers and classifier agree on %.1f %% of the responses (Cohen's kappa %.2f): the search removed what "
            "the markers find, and the rates count what the classifier finds. Read "
            "artifacts/verdicts/disagreements.jsonl, and change the markers or the classifier.",
            100 * calibration.agreement.value,
            calibration.kappa,
        )


def _kappa(found: Sequence[bool], meant: Sequence[bool]) -> float | None:
    """Return Cohen's kappa (1960); None where both judges say the same of every response, so that chance agrees too."""
    if len({*found, *meant}) == 1:
        return None
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(found, meant))
