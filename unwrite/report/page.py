"""The report: one HTML file that needs no other, from the artifacts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unwrite.report.edit_text import kernel_rows, layer_rows
from unwrite.report.facts import edit_facts
from unwrite.report.rendering import template_environment
from unwrite.schema.artifacts import Base, Front, Recipe, Trial
from unwrite.schema.evaluation import Evaluation

EXAMPLES = 12
SHORTENED = 280  # characters


class Example(NamedTuple):
    """One test prompt with the responses of both models, and the reference answer, if there is one."""

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
    """Return the first examples of a set, in the order of its file: they are not cherry-picked.

    Args:
        base: rows of artifacts/responses/base.*.jsonl.
        edited: rows of the edited model, for the same prompts in the same order.
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
    stopped: int,
    examples: Mapping[str, Sequence[Example]],
    plots: Plots,
    versions: Mapping[str, str],
) -> str:
    """Return the report as HTML. All text is escaped; only the figures are inserted as they are.

    Args:
        behaviour: the behaviour that the edit was to remove, in one line.
        base: the pinned model.
        recipe: the edit.
        evaluation: both models on the test split.
        front: what is common to all trials.
        trials: every trial that was measured in full.
        stopped: the number of trials that were stopped when they could no longer be chosen.
        examples: examples by prompt set.
        plots: the figures.
        versions: packages that write the report, with their versions.
    """
    # Responses come from a model and prompts from anyone: autoescape keeps them text.
    environment = template_environment("unwrite.report", autoescape=True)
    return environment.get_template("report.html.jinja").render(
        behaviour=" ".join(behaviour.split()),
        **edit_facts(base=base, recipe=recipe, evaluation=evaluation, front=front, trials=trials),
        trials=trials,
        stopped=stopped,
        examples=examples,
        plots=plots,
        layers=layer_rows(recipe, base),
        kernels=list(kernel_rows(recipe.parameters)),
        shortened=SHORTENED,
        versions=versions,
    )
