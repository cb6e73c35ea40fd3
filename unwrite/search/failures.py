"""Report unmeasured trials, and fail a search that has no others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.search.trials import OVER_MAX_KL, STOPPED, UNFINISHED, TrialOutcome, trial_of

logger = logging.getLogger(__name__)


def report_failures(outcomes: Sequence[TrialOutcome], folder: Path) -> None:
    """Log how many trials failed or were above `max_kl`.

    Args:
        outcomes: every trial of the search, at least one.
        folder: folder of the search's record, to delete before failed trials can be tried again.

    Raises:
        UnwriteError: no trial was measured in both objectives.
    """
    total = len(outcomes)
    above = sum(outcome.reason == OVER_MAX_KL for outcome in outcomes)
    if above == total:
        raise UnwriteError("Every trial is above optimize.max_kl: raise it, or set it to null.")
    if above:
        logger.info(f"{above} of {total} trials were above optimize.max_kl and not measured further.")
    stopped = sum(outcome.reason == STOPPED for outcome in outcomes)
    if stopped:
        logger.info(f"{stopped} of {total} trials were stopped when they could no longer be chosen.")
    reasons = Counter(o.reason for o in outcomes if o.reason and o.reason not in UNFINISHED)
    if not reasons:
        return
    reason, count = reasons.most_common(1)[0]
    message = f"{reasons.total()} of {total} trials failed, {count} of them because: {reason.rstrip('.')}."
    if all(trial_of(outcome) is None for outcome in outcomes):
        raise UnwriteError(f"{message} None was measured.\nTo try them again unchanged, delete {folder}.")
    logger.warning(f"{message} They count as tried; delete {folder} to try them again.")
