"""Run a search from where its record ends, with trials.csv, the journal and the progress kept up to date."""

from __future__ import annotations

import logging

from unwrite.pipeline.progress import Style
from unwrite.schema.params import Optimize
from unwrite.search.front import best_trial
from unwrite.search.journal import Journal
from unwrite.search.objective import Objective
from unwrite.search.space import search_space, why_no_one_shots
from unwrite.search.state import SearchState
from unwrite.search.study import run_study
from unwrite.search.trial_progress import trial_progress
from unwrite.search.trials import TrialOutcome, describe_trial, write_trials

logger = logging.getLogger(__name__)


def run_search(
    objective: Objective, optimize: Optimize, state: SearchState, *, layers: int, positions: int, style: Style
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
    context = objective.context
    prompts = len(context.target) + len(context.teacher_forced.prompts)
    with trial_progress(
        trials=optimize.trials,
        batch=optimize.batch,
        prompts=prompts,
        share_of_raced=context.share_of_raced if optimize.racing else 1.0,
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
