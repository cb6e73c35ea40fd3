"""The report: one HTML file that needs nothing else, from the artifacts alone."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unwrite.pipeline.environment import package_versions
from unwrite.report import tables
from unwrite.report.rendering import template_environment
from unwrite.schema.artifacts import Base, Evaluation, Front, Recipe, Trial

EXAMPLES = 12
SHORTENED = 280  # characters
_PACKAGES = ("unwrite", "matplotlib", "jinja2")


class Example(NamedTuple):
    """One test prompt with the responses of both models, and the answer of a model without the behaviour, if known."""

    prompt: str
    base: str
    edited: str
    reference: str | None


class Plots(NamedTuple):
    """The figures, as SVG elements."""

    rates: str
    trials: str
    geometry: str
    kernels: str


def first_examples(base: Sequence[Mapping[str, Any]], edited: Sequence[Mapping[str, Any]]) -> list[Example]:
    """The first examples of a set, in the order of its file: never chosen.

    Args:
        base: Rows of artifacts/responses/base.*.jsonl.
        edited: Rows of the edited model, the same prompts in the same order.
    """
    pairs = zip(base[:EXAMPLES], edited[:EXAMPLES], strict=True)
    return [Example(one["prompt"], one["response"], two["response"], one.get("reference")) for one, two in pairs]


def report_page(
    *,
    behaviour: str,
    base: Base,
    recipe: Recipe,
    evaluation: Evaluation,
    front: Front,
    trials: Sequence[Trial],
    examples: Mapping[str, Sequence[Example]],
    plots: Plots,
) -> str:
    """The report as HTML. Every text is escaped, whoever wrote it; only the figures go in as they are.

    Args:
        behaviour: One line that says what the edit was to remove.
        base: The pinned model.
        recipe: The edit.
        evaluation: Both models on the test split.
        front: What is common to all trials.
        trials: Every trial that was measured.
        examples: By prompt set.
        plots: The figures.
    """
    # Responses come from a model and prompts from anyone: autoescape is what keeps them text.
    environment = template_environment("unwrite.report", autoescape=True)
    return environment.get_template("report.html.jinja").render(
        behaviour=" ".join(behaviour.split()),
        base=base,
        recipe=recipe,
        evaluation=evaluation,
        front=front,
        trials=trials,
        examples=examples,
        plots=plots,
        model=tables.model_name(base),
        rates=tables.rate_rows(evaluation),
        layers=tables.layer_rows(recipe, base),
        kernels=list(tables.kernel_rows(recipe.parameters)),
        direction=tables.direction_text(recipe.parameters, [trial.parameters for trial in trials]),
        norms=tables.NORMS[recipe.settings.norm_preservation],
        post_norms=tables.norms_text(recipe, base),
        numbers=tables.edited_numbers(recipe, base),
        shortened=SHORTENED,
        versions={"Python": platform.python_version()} | package_versions(_PACKAGES),
    )
