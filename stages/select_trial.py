"""Select a trial and write its complete recipe: every writer to be edited, with its weight and direction."""

from __future__ import annotations

from collections.abc import Sequence

from unwrite.editing.recipe import make_recipe
from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.pipeline.stage import run_stage, say
from unwrite.report.format import nats, percent
from unwrite.schema.artifacts import Front, SelectedTrial, Trial, as_json, read_artifact, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import FRONT, RECIPE, TRIALS
from unwrite.search.trials import read_trials


def select_trial(params: Params) -> None:
    """Writes artifacts/edit.json."""
    front = read_artifact(Front, FRONT, "optimize_weights")
    trial, selection = choose(read_trials(), front.trials, params.select.max_behaviour_rate, params.select.trial)
    recipe = make_recipe(
        trial.parameters,
        read_base().writers,
        front.settings,
        selection=selection,
        trial=SelectedTrial(number=trial.number, behaviour_rate=trial.behaviour_rate, kl=trial.kl),
    )
    write_json(RECIPE, as_json(recipe))
    say(
        f"Trial {trial.number} ({selection}): behaviour rate {percent(trial.behaviour_rate)}, "
        f"divergence {nats(trial.kl)}, {len(recipe.edits)} writers to edit."
    )


def choose(
    trials: Sequence[Trial], front: Sequence[Trial], max_behaviour_rate: float, number: int | None
) -> tuple[Trial, str]:
    """The trial to use, and why: the one named, else of the front the lowest divergence within the rate.

    Where no trial is within the rate, the lowest rate is taken, with a warning.

    Raises:
        UnwriteError: The named trial does not exist or has failed.
    """
    if number is not None:
        named = [trial for trial in trials if trial.number == number]
        if not named:
            last = max(trial.number for trial in trials)
            raise UnwriteError(
                f"select.trial is {number}, which is not in {TRIALS} (0–{last}) or has failed there. "
                "Name another, or null for the rule."
            )
        return named[0], "named by number"
    within = [trial for trial in front if trial.behaviour_rate <= max_behaviour_rate]
    if within:
        best = min(within, key=lambda trial: trial.kl)
        return best, f"lowest divergence at a behaviour rate of at most {percent(max_behaviour_rate)}"
    best = min(front, key=lambda trial: (trial.behaviour_rate, trial.kl))
    say(
        f"warning: no trial reached select.max_behaviour_rate {percent(max_behaviour_rate)}; the lowest is "
        f"{percent(best.behaviour_rate)}. Raise optimize.trials or widen optimize.space."
    )
    return best, f"lowest behaviour rate; none reached {percent(max_behaviour_rate)}"


if __name__ == "__main__":
    run_stage(select_trial)
