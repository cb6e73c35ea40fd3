"""A copy of the search in Optuna's journal format, for optuna-dashboard; it is never read back."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.search.trials import TrialOutcome

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)


class Journal:
    """A journal being written: (behaviour rate, KL divergence), both minimized.

    Trials are added when they have ended, so a dashboard never shows one that a kill left running. The first error ends
    the journal with a warning: it is a copy, and the search continues without it.
    """

    def __init__(self, path: Path, distributions: Mapping[str, BaseDistribution], done: Sequence[TrialOutcome]) -> None:
        """Write a new journal, replacing any earlier one.

        Args:
            path: file of the journal.
            distributions: the distribution of each parameter, by name.
            done: the trials so far.
        """
        self._path = path
        self._distributions = dict(distributions)
        self._study: Study | None = None
        try:
            self._study = _create_study(path)
        except OSError as error:
            self._stop(error)
        self.add(done)

    def add(self, batch: Sequence[TrialOutcome]) -> None:
        """Add trials that have ended."""
        if self._study is None:
            return
        try:
            self._study.add_trials([_frozen(outcome, self._distributions) for outcome in batch])
        except OSError as error:
            self._stop(error)

    def _stop(self, error: OSError) -> None:
        self._study = None
        logger.warning(
            f"{self._path}, which only a dashboard reads, cannot be written ({error.strerror}); continuing without it."
        )


def _create_study(path: Path) -> Study:
    from optuna import create_study, logging
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    logging.set_verbosity(logging.ERROR)
    # Optuna's own lock file outlives a killed process; the lock of the search already keeps others out.
    for leftover in (path, path.with_name(f"{path.name}.lock")):
        leftover.unlink(missing_ok=True)
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = create_study(study_name="unwrite", storage=storage, directions=["minimize", "minimize"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["behaviour rate", "kl"])
    return study


def _frozen(outcome: TrialOutcome, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    import optuna

    measured = outcome.measured
    state, values = optuna.trial.TrialState.COMPLETE, None
    if measured is None:
        state = optuna.trial.TrialState.FAIL
    elif measured.behaviour_rate is None or measured.is_bound:
        state = optuna.trial.TrialState.PRUNED
    else:
        values = [measured.behaviour_rate, measured.kl]
    return optuna.create_trial(
        state=state,
        values=values,
        params=dict(outcome.sampled),
        distributions=distributions,
        user_attrs={"reason": outcome.reason} if outcome.reason else {},
    )
