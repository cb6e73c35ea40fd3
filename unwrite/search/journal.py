"""A copy of the search in Optuna's journal format, for optuna-dashboard; nothing is ever read back from it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.search.trials import TrialOutcome

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def open_journal(
    path: Path, distributions: dict[str, BaseDistribution], done: Sequence[TrialOutcome]
) -> Callable[[Sequence[TrialOutcome]], None]:
    """Writes a new journal of the trials so far and returns what adds further ones: (rate, divergence), both minimized.

    Trials are added when they have ended, one line each, so that a dashboard never sees one that a kill left running.

    Raises:
        OSError: It can't be written. It is a copy: a search does without.
    """
    from optuna import create_study, logging
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    logging.set_verbosity(logging.ERROR)
    # Optuna's own lock file outlives a killed process; the search's lock already keeps others out.
    for leftover in (path, path.with_name(f"{path.name}.lock")):
        leftover.unlink(missing_ok=True)
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = create_study(study_name="unwrite", storage=storage, directions=["minimize", "minimize"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["behaviour rate", "kl"])

    def add(batch: Sequence[TrialOutcome]) -> None:
        study.add_trials([_frozen(outcome, distributions) for outcome in batch])

    add(done)
    return add


def _frozen(outcome: TrialOutcome, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    import optuna

    measured = outcome.measured
    state, values = optuna.trial.TrialState.COMPLETE, None
    if measured is None:
        state = optuna.trial.TrialState.FAIL
    elif measured.behaviour_rate is None:
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
