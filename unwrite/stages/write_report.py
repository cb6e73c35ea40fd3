"""Write the report for people and the model card, from the artifacts alone."""

from __future__ import annotations

import platform
from typing import TypedDict

from unwrite.errors import UnwriteError
from unwrite.files.records import write_text
from unwrite.pipeline.environment import package_versions
from unwrite.pipeline.stage import run_stage
from unwrite.release.card import model_card
from unwrite.report.curves import read_geometry_rows, read_residual_map
from unwrite.report.edit_sizes import read_edit_sizes
from unwrite.report.page import report_page
from unwrite.report.residual_maps import residual_maps
from unwrite.report.response_pairs import read_pairs
from unwrite.schema.artifacts import Base, Front, PromptOrigins, Recipe, read_artifact
from unwrite.schema.evaluation import Benchmarks, Causality, Evaluation
from unwrite.schema.geometry_records import Geometry
from unwrite.schema.params import Params, source_of
from unwrite.schema.paths import (
    BASE,
    BENCHMARKS,
    CARD,
    CAUSALITY,
    CURVES,
    EDIT_SIZES,
    EVALUATION,
    FRONT,
    GEOMETRY,
    RECIPE,
    REPORT,
    RESIDUAL_MAP,
    RESPONSES,
    SET_TOKENS,
    SOURCES,
    TOKENS,
    VERDICTS,
)
from unwrite.search.trials import STOPPED, read_trials
from unwrite.terms import SETS

_PACKAGES = ("unwrite", "altair", "vl-convert-python", "jinja2")


class _Shared(TypedDict):
    """What page and card both state."""

    behaviour: str
    base: Base
    recipe: Recipe
    evaluation: Evaluation
    front: Front
    origins: PromptOrigins


def write_report(params: Params) -> None:
    """Write artifacts/report.html and artifacts/card/README.md."""
    from unwrite.report.charts import report_charts  # an extra: only when it runs

    base = read_artifact(Base, BASE, "pin_model")
    front = read_artifact(Front, FRONT, "optimize_weights")
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    if recipe.trial is None:
        raise UnwriteError(f"{RECIPE} must name the trial it comes from. Run `dvc repro -f select_trial`.")
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    shared: _Shared = {
        "behaviour": params.report.behaviour,
        "base": base,
        "recipe": recipe,
        "evaluation": evaluation,
        "front": front,
        "origins": _prompt_origins(),
    }
    trials, stopped = read_trials(), read_trials(STOPPED)
    curves, sizes = read_geometry_rows(CURVES), read_edit_sizes(EDIT_SIZES, recipe.edits)
    geometry = read_artifact(Geometry, GEOMETRY, "measure_geometry")
    maps = residual_maps(read_residual_map(RESIDUAL_MAP))
    drawn = report_charts(
        base=base,
        recipe=recipe,
        front=front,
        trials=trials,
        stopped=stopped,
        curves=curves,
        sizes=sizes,
        maps=maps,
        projection=geometry.projection,
    )
    page = report_page(
        **shared,
        trials=trials,
        stopped=len(stopped),
        pairs=read_pairs(RESPONSES, VERDICTS),
        sizes=sizes,
        curves=curves,
        geometry=geometry,
        maps=maps,
        causality=read_artifact(Causality, CAUSALITY, "check_causality"),
        benchmarks=read_artifact(Benchmarks, BENCHMARKS, "run_benchmarks"),
        versions={"Python": platform.python_version()} | package_versions(_PACKAGES),
        drawn=drawn,
    )
    write_text(REPORT, page)
    prompts: dict[str, str] = {name: source_of(getattr(params.tokenize, name)).source for name in SETS}
    write_text(CARD, model_card(**shared, prompts=prompts))


def _prompt_origins() -> PromptOrigins:
    """Return where the prompts of all sets came from, and how they were rendered."""
    origins = read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts")
    extra = read_artifact(PromptOrigins, SET_TOKENS / SOURCES, "tokenize_sets")
    return origins.model_copy(update={"sets": origins.sets | extra.sets})


if __name__ == "__main__":
    run_stage(write_report)
