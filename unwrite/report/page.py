"""The report: one HTML file that needs no other and fetches nothing, from the artifacts alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from unwrite.report.curves import GeometryRow
from unwrite.report.edit_sizes import TensorSize
from unwrite.report.edit_text import kernel_rows, layer_rows
from unwrite.report.facts import edit_facts
from unwrite.report.page_scripts import chart_library, content_policy, page_script
from unwrite.report.prompt_facts import prompt_facts, rendering_text
from unwrite.report.rendering import template_environment
from unwrite.report.residual_maps import ResidualMaps
from unwrite.report.response_pairs import TAGS, ResponsePair, changed_first, tag_counts
from unwrite.report.results import change_text, headline, p_text, result_groups
from unwrite.report.shown_text import LONGEST, page_text
from unwrite.report.tables import model_name
from unwrite.schema.artifacts import Base, Front, PromptOrigins, Recipe, Trial
from unwrite.schema.evaluation import Benchmarks, Causality, Evaluation, Interval
from unwrite.schema.geometry_records import Geometry
from unwrite.schema.paths import MODEL
from unwrite.terms import InterventionVector

if TYPE_CHECKING:
    from unwrite.report.charts import ReportCharts

VECTORS: dict[InterventionVector, str] = {
    "direction": "the direction",
    "difference": "the whole difference of the means",
    "random": "a random vector",
}

_INTRODUCTION = (
    "Every test prompt with the response of each model: first those where the behaviour appeared or remained, then "
    "those where it was removed, then the rest."
)


def report_page(
    *,
    behaviour: str,
    base: Base,
    recipe: Recipe,
    evaluation: Evaluation,
    front: Front,
    trials: Sequence[Trial],
    stopped: int,
    pairs: Sequence[ResponsePair],
    sizes: Sequence[TensorSize],
    curves: Sequence[GeometryRow],
    geometry: Geometry,
    maps: ResidualMaps | None,
    causality: Causality | None,
    benchmarks: Benchmarks | None,
    drawn: ReportCharts,
    origins: PromptOrigins,
    versions: Mapping[str, str],
) -> str:
    """Return the report as HTML. All text is escaped; only scripts and data are inserted as they are.

    Args:
        behaviour: the behaviour that the edit was to remove, in one line.
        base: the pinned model.
        recipe: the edit.
        evaluation: both models on the test split.
        front: what is common to all trials.
        trials: every trial that was measured in full.
        stopped: the number of trials that were stopped when they could no longer be chosen.
        pairs: the responses of both models to every test prompt.
        sizes: the size of the edit of each tensor.
        curves: the geometry by residual index.
        geometry: what the maps show, and the best separated index.
        maps: the maps of residuals, if there are any.
        causality: the causal check, if it was made.
        benchmarks: both models on benchmarks, if there are any.
        drawn: the charts, and what they need of the page; a chart that is missing is left out.
        origins: where the prompts of every set came from.
        versions: packages that write the report, with their versions.
    """
    behaviour = " ".join(behaviour.split())
    return render_page(
        "report.html.jinja",
        title=f"{model_name(base)}, edited: {behaviour}",
        **drawn._asdict(),
        behaviour=behaviour,
        **edit_facts(base=base, recipe=recipe, evaluation=evaluation, front=front, trials=trials),
        groups=result_groups(evaluation),
        verdict=headline(evaluation),
        tried=len(trials) + stopped,
        stopped=stopped,
        layers=layer_rows(recipe, base),
        kernels=list(kernel_rows(recipe.parameters)),
        sizes=sizes,
        curves=curves,
        geometry=geometry,
        maps=maps,
        causality=causality,
        benchmarks=benchmarks,
        vector_names=VECTORS,
        **_map_controls(maps, recipe),
        **response_section(pairs, ("Base model", "Edited model"), TAGS, _INTRODUCTION),
        verify_command=verify_command(base),
        prompt_sets=prompt_facts(origins.sets),
        rendering=rendering_text(origins),
        versions=versions,
    )


def response_section(
    pairs: Sequence[ResponsePair], titles: tuple[str, str], tag_names: Mapping[str, str], introduction: str
) -> dict[str, Any]:
    """Return the arguments of the responses' section: the pairs in the order to read them, and what to filter by.

    Args:
        pairs: responses side by side.
        titles: whose they are.
        tag_names: what each tag of a pair is called.
        introduction: one or two sentences.
    """
    return {
        "pairs": changed_first(pairs),
        "titles": titles,
        "tags": tag_counts(pairs),
        "tag_names": tag_names,
        "set_counts": Counter(pair.prompts for pair in pairs),
        "responses_intro": introduction,
    }


def render_page(template: str, *, title: str, charts: Mapping[str, str], map_data: str | None, **values: Any) -> str:
    """Render one of the pages, with its scripts and the policy that lets no others run.

    Args:
        template: the name of the template.
        title: the title of the page.
        charts: Vega-Lite specifications as JSON, by name.
        map_data: the coordinates of the maps as JSON.
        values: the arguments of the template.
    """
    scripts = [chart_library(), page_script()]
    return (
        page_environment()
        .get_template(template)
        .render(
            title=title,
            charts=charts,
            map_data=map_data,
            scripts=scripts,
            policy=content_policy(scripts),
            longest=LONGEST,
            **values,
        )
    )


def page_environment() -> Environment:
    """Return the environment of the pages: text of models and strangers is escaped in all of them."""
    environment = template_environment("unwrite.report", autoescape=True)
    environment.filters |= {
        "shown": page_text,
        "span": _interval_text,
        "p_value": lambda p: p_text(p).removeprefix("p ").removeprefix("= "),
        "change_words": change_text,
        "figure": _figure_text,
    }
    return environment


def verify_command(base: Base) -> str:
    """Return the command that checks the merged model against its base."""
    return f"unwrite verify {MODEL} --base {model_name(base)}"


def _map_controls(maps: ResidualMaps | None, recipe: Recipe) -> dict[str, Any]:
    """Return the slider's range, and where it begins: the first index of the recipe's directions."""
    if maps is None or not maps.frames:
        return {"positions": [], "last_index": 0, "first_shown": 0}
    last = max(frame["index"] for frame in maps.frames)
    used = min((edit.direction.index for edit in recipe.edits), default=0.0)
    positions = sorted({frame["position"] for frame in maps.frames})
    return {"positions": positions, "last_index": last, "first_shown": min(last, round(used))}


def _interval_text(interval: Interval) -> str:
    return f"{interval.low:.3g}–{interval.high:.3g}"


def _figure_text(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.4g}"
