"""Run a search from where its record ends, with trials.csv, the journal and the progress kept up to date."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from unwrite.pipeline.progress import Style
from unwrite.schema.artifacts import TrialParameters
from unwrite.schema.params import Optimize
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.backends import Result
from unwrite.search.front import best_trial
from unwrite.search.journal import Journal
from unwrite.search.racing import Standard
from unwrite.search.space import search_space, why_no_one_shots
from unwrite.search.state import SearchState
from unwrite.search.study import run_study
from unwrite.search.trial_progress import TrialProgress, trial_progress
from unwrite.search.trials import TrialOutcome, describe_trial, write_trials

logger = logging.getLogger(__name__)


class Measurer(Protocol):
    """What measures trials: this process (`objective`), or workers (`parallel`).

    choice: how trials are measured; None until it is settled.
    base_rate: behaviour rate of the base model on the target prompts.
    prompts: prompts of a trial.
    share_of_raced: `EvaluationContext.share_of_raced`.
    """

    choice: BackendChoice | None

    @property
    def base_rate(self) -> float: ...  # noqa: D102
    @property
    def prompts(self) -> int: ...  # noqa: D102
    @property
    def share_of_raced(self) -> float: ...  # noqa: D102

    def show_progress(self, progress: TrialProgress) -> None:
        """Report every further measurement."""

    def evaluate(self, trials: Sequence[TrialParameters], standard: Standard) -> list[Result]:
        """Measure some trials, each as far as it can still meet the standard; one that fails gives an UnwriteError."""


def run_search(
    objective: Measurer, optimize: Optimize, state: SearchState, *, layers: int, positions: int, style: Style
) -> list[TrialOutcome]:
    """Run the trials that the record lacks. Whenever this is stopped, trials.csv holds every trial that has ended.

    Args:
        objective: measures the trials.
        optimize: section `optimize` of params.yaml.
        state: record of the search, which grows by each batch.
        layers: L.
        positions: the number of prompt positions with directions.
        style: how progress is shown.

    Returns:
        The first `optimize.trials` trials.
    """
    _log_start(state, optimize, layers)
    space = search_space(optimize.space, layers=layers, positions=positions)
    journal = Journal(state.folder / "journal.log", space, state.done)
    outcomes = state.done[: optimize.trials]
    if outcomes:
        write_trials(outcomes)  # DVC has removed the table of the earlier run
    with trial_progress(
        trials=optimize.trials,
        batch=optimize.batch,
        prompts=objective.prompts,
        share_of_raced=objective.share_of_raced if optimize.racing else 1.0,
        style=style,
        done=len(outcomes),
    ) as shown:
        objective.show_progress(shown)
        for batch in run_study(objective.evaluate, optimize, done=state.done, layers=layers, positions=positions):
            if objective.choice is not None:
                state.choose(objective.choice)
            state.add(batch)
            journal.add(batch)
            outcomes = state.done[: optimize.trials]
            write_trials(outcomes)
            shown.set_best(describe_trial(best_trial(outcomes, optimize.max_behaviour_rate)))
    return outcomes


def _log_start(state: SearchState, optimize: Optimize, layers: int) -> None:
    why = why_no_one_shots(optimize.space, layers=layers)
    if why is not None:
        logger.info(f"No one-shot settings are tried first: {why}. The search has no baseline to beat.")
    if state.done:
        logger.info(f"{len(state.done)} trials were done before ({state.folder}).")
    if len(state.done) > optimize.trials:
        logger.info(
            f"optimize.trials is {optimize.trials}: only the first {optimize.trials} count, as if no more had run."
        )
