"""Figures as text: how a rate, a divergence and an edit are written, and the tables they stand in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from unwrite.report.format import nats, percent
from unwrite.schema.artifacts import Base, Edit, Evaluation, Kernel, Recipe, Share, TrialParameters
from unwrite.schema.paths import MODEL, REPORT
from unwrite.terms import COMPONENTS, Component

FIGURES = {
    "behaviour_rate": "behaviour rate",
    "degenerate_rate": "degenerate rate",
    "reference_accuracy": "reference accuracy",
}
NORMS = {
    "none": "no norms are kept (W′ = W − λ v vᵀW)",
    "pre": "the edit acts on rows of unit norm, scaled back afterwards",
    "rows": "every weight row keeps its norm",
    "columns": "every weight column keeps its norm",
}


class RateRow(NamedTuple):
    """One rate of one prompt set, before and after the edit."""

    prompts: str
    figure: str
    base: Share
    edited: Share


class LayerRow(NamedTuple):
    """What the recipe does to one layer: weight λ by component (None: no writer there), and the directions used."""

    layer: int
    weights: dict[Component, float | None]
    sources: str


def interval_text(share: Share) -> str:
    """A share with its interval: "97.0 % (91.5–99.0)"."""
    return f"{percent(share.value)} ({100 * share.low:.1f}–{100 * share.high:.1f})"


def rate_text(share: Share) -> str:
    """A share with its interval and the number of responses: "97.0 % (91.5–99.0, n = 100)"."""
    return f"{interval_text(share)[:-1]}, n = {share.n})"


def model_name(base: Base) -> str:
    """What the base model is called: its hub id or relative folder; of any other folder the name without the path."""
    folder = Path(base.source)
    if base.commit is not None or not (folder.is_absolute() or {"..", "~"} & set(folder.parts)):
        return base.source
    return folder.absolute().name


def rate_rows(evaluation: Evaluation) -> list[RateRow]:
    """Every rate that was measured, target prompts first; reference accuracy only where there are references."""
    rows = []
    for prompts in ("target", "baseline"):
        before, after = getattr(evaluation.base, prompts), getattr(evaluation.edited, prompts)
        for field, figure in FIGURES.items():
            base, edited = getattr(before, field), getattr(after, field)
            if base is not None and edited is not None:
                rows.append(RateRow(prompts, figure, base, edited))
    return rows


def summary(evaluation: Evaluation, behaviour: str | None = None) -> str:
    """The last words of a run, for a terminal of 80 columns: what was measured, and where things are.

    Args:
        evaluation: Both models on the test split.
        behaviour: One line that says what was removed, if it is to be named.
    """
    lines = [f"Behaviour: {' '.join(behaviour.split())}", ""] if behaviour else []
    return "\n".join([*lines, measured_text(evaluation), "", f"Model:  {MODEL}", f"Report: {REPORT}"])


def measured_text(evaluation: Evaluation) -> str:
    """Rates before and after with their intervals, and the divergences, for a terminal of 80 columns."""
    lines = [_rates_table(evaluation), ""]
    if evaluation.reference_ceiling is not None:
        known = percent(evaluation.reference_ceiling)
        lines += [f"Ceiling of target reference accuracy, known before the behaviour: {known}"]
    lines += [
        "KL divergence from the base model, on baseline prompts:",
        f"  {nats(evaluation.kl_first_token)} at the first response token",
        f"  {nats(evaluation.kl_response)} averaged over the first response tokens",
    ]
    return "\n".join(lines)


def _rates_table(evaluation: Evaluation) -> str:
    table: list[list[str]] = []
    named = ""
    for row in rate_rows(evaluation):
        prompts = row.prompts if row.prompts != named else ""
        named = row.prompts
        table.append([prompts, row.figure, interval_text(row.base), interval_text(row.edited), f"{row.edited.n}"])
    headers = ["", "test split", "base model", "edited model", "n"]
    return tabulate(table, headers, "simple", colalign=("left", "left", "right", "right", "right"))


def layer_rows(recipe: Recipe, base: Base) -> list[LayerRow]:
    """The recipe layer by layer, every layer of the model; a writer that is left alone has weight 0."""
    edits = {edit.matrix.parameter: edit for edit in recipe.edits}
    weights: dict[tuple[int, Component], float] = {}
    sources: dict[int, dict[str, None]] = {layer: {} for layer in range(base.layers)}  # each once, in order
    for writer in base.writers:
        edit = edits.get(writer.matrix.parameter)
        for layer in (writer.layer, *writer.shared_layers):
            weights.setdefault((layer, writer.component), 0.0)
            if edit is not None:
                weights[layer, writer.component] = edit.strength
                sources[layer][_source(edit)] = None
    return [
        LayerRow(
            layer,
            {component: weights.get((layer, component)) for component in COMPONENTS},
            ", ".join(sources[layer]) or "–",
        )
        for layer in range(base.layers)
    ]


def _source(edit: Edit) -> str:
    return f"{edit.direction.index:.2f}".removesuffix(".00")


def kernel_rows(parameters: TrialParameters) -> Iterator[tuple[Component, Kernel]]:
    """The kernel of each component."""
    for component in COMPONENTS:
        yield component, getattr(parameters, component)


def direction_text(parameters: TrialParameters, tried: Sequence[TrialParameters]) -> str:
    """Where the layers take their direction from, as the end of "The direction is …".

    Args:
        parameters: Of the selected trial.
        tried: The prompt position is named if these have several.
    """
    source = {
        "global": f"one for all layers, taken at residual index {parameters.direction_index:.2f}",
        "per_layer": "each layer's own, taken at the layer's output",
        "spans": "by spans of layers, each taken at the output of the span's source layer",
    }[parameters.direction_scope]
    if len({one.position for one in tried}) > 1:
        return f"{source}, at prompt position {parameters.position} of those stored"
    return source


def edited_numbers(recipe: Recipe, base: Base) -> int:
    """How many numbers the edited tensors hold together, biases included."""
    sizes = {writer.matrix.parameter: math.prod(writer.shape) for writer in base.writers}
    biases = sum(edit.bias.num_matrices * base.hidden_size for edit in recipe.edits if edit.bias is not None)
    return biases + sum(sizes[edit.matrix.parameter] for edit in recipe.edits)


def norms_text(recipe: Recipe, base: Base) -> str | None:
    """What was done about norms between edited writers and the stream; None where there are none.

    Args:
        recipe: The edit.
        base: The pinned model, whose writers say what follows them.
    """
    followed = {w.matrix.parameter for w in base.writers if any(norm.parameter is not None for norm in w.norms)}
    edits = [edit for edit in recipe.edits if edit.matrix.parameter in followed]
    if not edits:
        return None
    which = f"A norm follows {len(edits)} of the edited parameters"
    if all(edit.norms for edit in edits):
        return f"{which}; what was projected out of those is normalize(γ∘v), so that v vanishes after the norm"
    return f"{which}, whose scale was left out of account: part of the direction comes back after it"
