"""Search for recipes that remove the behaviour and move little else, on the validation prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.editing.recipe import edit_settings
from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.files.records import write_json
from unwrite.files.tensors import read_metadata
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage, say
from unwrite.report.format import nats, percent
from unwrite.schema.artifacts import Front, Trial, as_json, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import BASE, DIRECTIONS, FRONT, TOKENS
from unwrite.search.journal import open_journal
from unwrite.search.objective import Objective, prepare_objective
from unwrite.search.space import one_shot_settings, search_space, why_no_one_shots
from unwrite.search.state import State, search_key, search_state
from unwrite.search.study import best_trial, pareto_front, run_study
from unwrite.search.trials import OVER_MAX_KL, TrialOutcome, write_trials
from unwrite.terms import SETS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def optimize_weights(params: Params) -> None:
    """Writes artifacts/trials.csv (every trial, as they end) and artifacts/front.json (those that no other beats)."""
    settings = params.optimize
    base = read_base()
    for layer in (layer for span in settings.space.spans for layer in span):
        if layer >= base.layers:
            raise UnwriteError(f"optimize.space.spans names layer {layer}; the model's layers are 0–{base.layers - 1}.")
    shared = edit_settings(settings, read_metadata(DIRECTIONS, "compute_directions")["orthogonalize"])
    with search_state(search_key(_inputs(params), Path(__file__))) as state:
        if state.damage:
            say(f"warning: {state.damage}")
        if why := why_no_one_shots(settings.space, layers=base.layers):
            say(f"No one-shot settings are tried first: {why}. The search has no baseline to beat.")
        objective = prepare_objective(params, base, shared, chosen=state.chosen, choose=state.choose)
        say(f"Base model: behaviour rate {percent(objective.base_rate)} on the validation prompts.")
        outcomes = _search(params, state, objective, base.layers)
    _tell_failures(outcomes, state)
    one_shots = outcomes[: len(one_shot_settings(settings.space, layers=base.layers))]
    one_shot = best_trial(one_shots, settings.max_behaviour_rate)
    if one_shots:
        say(f"Best one-shot setting, without a search: {_figures(one_shot)}.")
    say(f"Best of {len(outcomes)} trials: {_figures(best_trial(outcomes, settings.max_behaviour_rate))}.")
    record = Front(
        settings=shared,
        kl_tokens=settings.kl_tokens,
        base_behaviour_rate=objective.base_rate,
        one_shot=one_shot,
        trials=pareto_front(outcomes),
    )
    write_json(FRONT, as_json(record))


def _inputs(params: Params) -> dict[str, object]:
    """Everything that decides the trials. How many there are to be is no part of it, so that more extend the search."""
    files = [BASE, DIRECTIONS, Path(params.judge.markers), *(TOKENS / f"{name}.validation.jsonl" for name in SETS)]
    for file in files:
        if not file.is_file():
            raise UnwriteError(f"{file} is missing: run `dvc repro`, or mend the path in params.yaml.")
    settings = params.optimize.model_dump(mode="json", exclude={"trials"})
    return {"files": {str(file): sha256_of(file) for file in files}, "optimize": settings}


def _search(params: Params, state: State, objective: Objective, layers: int) -> list[TrialOutcome]:
    """Goes on where the record ends. Whenever it is stopped, trials.csv holds every trial that has ended."""
    settings, positions = params.optimize, objective.positions
    if state.done:
        say(f"{len(state.done)} trials were done before ({state.folder}).")
    if len(state.done) > settings.trials:
        say(f"optimize.trials is {settings.trials}: the first {settings.trials} count, as if no more had run.")
    space = search_space(settings.space, layers=layers, positions=positions)
    watch = _watched(state.folder / "journal.log", space, state.done)
    outcomes = state.done[: settings.trials]
    if outcomes:
        write_trials(outcomes)  # DVC has removed what an earlier run wrote
    with progress("trials", settings.trials, params.runtime.progress, len(outcomes)) as advance:
        for batch in run_study(objective.evaluate, settings, done=state.done, layers=layers, positions=positions):
            state.add(batch)
            watch(batch)
            before = len(outcomes)
            outcomes = (outcomes + batch)[: settings.trials]
            write_trials(outcomes)
            advance(
                len(outcomes) - before, f"best so far: {_figures(best_trial(outcomes, settings.max_behaviour_rate))}"
            )
    write_trials(outcomes)
    return outcomes


def _watched(
    journal: Path, space: dict[str, BaseDistribution], done: list[TrialOutcome]
) -> Callable[[list[TrialOutcome]], None]:
    """What copies each batch into the journal, for as long as that can be written."""
    writers: list[Callable[[list[TrialOutcome]], None]] = []

    def attempt(write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            writers.clear()
            say(f"warning: {journal}, which is to look at only, can't be written ({error.strerror}); going on without.")

    attempt(lambda: writers.append(open_journal(journal, space, done)))
    return lambda batch: attempt(lambda: [write(batch) for write in writers])


def _tell_failures(outcomes: list[TrialOutcome], state: State) -> None:
    hopeless = sum(outcome.reason == OVER_MAX_KL for outcome in outcomes)
    if hopeless:
        say(f"{hopeless} of {len(outcomes)} trials were above optimize.max_kl and not measured further.")
        if hopeless == len(outcomes):
            raise UnwriteError("Every trial is above optimize.max_kl: raise it, or set it to null.")
    reasons = [outcome.reason for outcome in outcomes if outcome.reason and outcome.reason != OVER_MAX_KL]
    if reasons:
        reason, count = Counter(reasons).most_common(1)[0]
        message = f"{len(reasons)} of {len(outcomes)} trials failed, {count} of them so: {reason}"
        if len(reasons) == len(outcomes):
            raise UnwriteError(f"{message.rstrip('.')}.\nTo try them again as they are, delete {state.folder}.")
        say(f"warning: {message.rstrip('.')}. They count as tried; delete {state.folder} to try them again.")


def _figures(trial: Trial | None) -> str:
    if trial is None:
        return "none"
    return f"trial {trial.number}, rate {percent(trial.behaviour_rate)}, divergence {nats(trial.kl)}"


if __name__ == "__main__":
    run_stage(optimize_weights)
