"""Write the report for people and the model card, from the artifacts alone."""

from __future__ import annotations

import platform

from unwrite.errors import UnwriteError
from unwrite.files.records import read_jsonl, write_text
from unwrite.pipeline.environment import package_versions
from unwrite.pipeline.stage import run_stage
from unwrite.release.card import model_card
from unwrite.report.curves import read_geometry
from unwrite.report.edit_text import layer_rows
from unwrite.report.page import Example, Plots, first_examples, report_page
from unwrite.schema.artifacts import Base, Front, Recipe, read_artifact
from unwrite.schema.evaluation import Evaluation
from unwrite.schema.params import Params
from unwrite.schema.paths import BASE, CARD, CURVES, EVALUATION, FRONT, RECIPE, REPORT, RESPONSES
from unwrite.search.trials import STOPPED, read_trials

_PACKAGES = ("unwrite", "matplotlib", "jinja2")


def write_report(params: Params) -> None:
    """Write artifacts/report.html and artifacts/card/README.md."""
    from unwrite.report.plots import geometry_plot, kernels_plot, rates_plot, trials_plot  # an extra: only when it runs

    behaviour = params.report.behaviour
    base = read_artifact(Base, BASE, "pin_model")
    front = read_artifact(Front, FRONT, "optimize_weights")
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    if recipe.trial is None:
        raise UnwriteError(f"{RECIPE} must name the trial it comes from. Run `dvc repro -f select_trial`.")
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    trials, stopped = read_trials(), read_trials(STOPPED)
    used = sorted({edit.direction.index for edit in recipe.edits})
    plots = Plots(
        rates=rates_plot(evaluation),
        trials=trials_plot(trials, stopped, front.trials, recipe.trial, front.base_behaviour_rate),
        geometry=geometry_plot(read_geometry(CURVES), used),
        kernels=kernels_plot(layer_rows(recipe, base)),
    )
    page = report_page(
        behaviour=behaviour,
        base=base,
        recipe=recipe,
        evaluation=evaluation,
        front=front,
        trials=trials,
        stopped=len(stopped),
        examples={name: _examples(name) for name in ("target", "baseline")},
        plots=plots,
        versions={"Python": platform.python_version()} | package_versions(_PACKAGES),
    )
    write_text(REPORT, page)
    card = model_card(
        behaviour=behaviour,
        base=base,
        recipe=recipe,
        evaluation=evaluation,
        front=front,
        prompts={"target": params.tokenize.target, "baseline": params.tokenize.baseline},
    )
    write_text(CARD, card)


def _examples(name: str) -> list[Example]:
    base, edited = (
        read_jsonl(RESPONSES / f"{which}.{name}.jsonl", ["prompt", "reference", "response"])
        for which in ("base", "edited")
    )
    return first_examples(base, edited)


if __name__ == "__main__":
    run_stage(write_report)
