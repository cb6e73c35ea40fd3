"""Select a trial and write its complete recipe: every writer to edit, with its strength and direction."""

from __future__ import annotations

import logging

from unwrite.editing.recipe import make_recipe
from unwrite.errors import as_user_error
from unwrite.files.records import write_json
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import Front, SelectedTrial, as_json, read_artifact, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import FRONT, RECIPE
from unwrite.search.selection import choose_trial
from unwrite.search.trials import describe_trial, read_trials

logger = logging.getLogger("unwrite.stage")


def select_trial(params: Params) -> None:
    """Write artifacts/edit.json."""
    front = read_artifact(Front, FRONT, "optimize_weights")
    trial, reason = choose_trial(read_trials(), front.trials, params.select.max_behaviour_rate, params.select.trial)
    selected = SelectedTrial(number=trial.number, behaviour_rate=trial.behaviour_rate, kl=trial.kl)
    writers = read_base().writers
    with as_user_error(f"Trial {trial.number}", "Run `dvc repro -f optimize_weights`."):
        recipe = make_recipe(trial.parameters, writers, front.settings, selection=reason, trial=selected)
    write_json(RECIPE, as_json(recipe))
    logger.info(f"Selected {describe_trial(trial)} ({reason}); {len(recipe.edits)} writers to edit.")


if __name__ == "__main__":
    run_stage(select_trial)
