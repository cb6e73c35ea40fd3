"""The edit of a recipe in rows and words: its strengths layer by layer, its direction, its norms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from unwrite.schema.artifacts import Base, Edit, Kernel, Norm, Recipe, TrialParameters, biases_of
from unwrite.terms import COMPONENTS, Component, NormPreservation

NORMS: dict[NormPreservation, str] = {
    "none": "no norms are preserved (W′ = W − λ v vᵀW)",
    "pre": "the edit acts on rows of unit norm, scaled back afterwards",
    "rows": "every weight row keeps its norm",
    "columns": "every weight column keeps its norm",
}


class LayerRow(NamedTuple):
    """The edit of one layer: strength λ by component (None: no writer), and the residual indices of its directions."""

    layer: int
    strengths: dict[Component, float | None]
    sources: str


def layer_rows(recipe: Recipe, base: Base) -> list[LayerRow]:
    """Return the edit of every layer of the model; a writer that is not edited has strength 0."""
    edits = {edit.matrix.parameter: edit for edit in recipe.edits}
    strengths: dict[tuple[int, Component], float] = {}
    sources: dict[int, dict[str, None]] = {layer: {} for layer in range(base.layers)}  # each once, in order
    for writer in base.writers:
        edit = edits.get(writer.matrix.parameter)
        for layer in (writer.layer, *writer.shared_layers):
            strengths.setdefault((layer, writer.component), 0.0)
            if edit is not None:
                strengths[layer, writer.component] = edit.strength
                sources[layer][_source(edit)] = None
    return [
        LayerRow(
            layer,
            {component: strengths.get((layer, component)) for component in COMPONENTS},
            ", ".join(sources[layer]) or "–",
        )
        for layer in range(base.layers)
    ]


def _source(edit: Edit) -> str:
    return f"{edit.direction.index:.2f}".removesuffix(".00")


def kernel_rows(parameters: TrialParameters) -> Iterator[tuple[Component, Kernel]]:
    """Yield each component with its kernel."""
    for component in COMPONENTS:
        yield component, getattr(parameters, component)


def direction_text(parameters: TrialParameters, tried: Sequence[TrialParameters]) -> str:
    """Return where the layers take their direction from, as the end of "The direction is …".

    Args:
        parameters: parameters of the selected trial.
        tried: parameters of all trials; the prompt position is named if they have several.
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
    """Return how many values the edited tensors hold in total, biases included."""
    sizes = {writer.matrix.parameter: math.prod(writer.shape) for writer in base.writers}
    biases = sum(one.layout.num_matrices * base.hidden_size for edit in recipe.edits for one in biases_of(edit))
    return biases + sum(sizes[edit.matrix.parameter] for edit in recipe.edits)


def norms_text(recipe: Recipe, base: Base) -> str | None:
    """Return how the edit treats norms between writers and the stream; None if there are no such norms.

    Args:
        recipe: the edit.
        base: the pinned model, whose writers list the norms that follow them.
    """
    followed = {w.matrix.parameter for w in base.writers if any(map(_turns, w.norms))}
    edits = [edit for edit in recipe.edits if edit.matrix.parameter in followed]
    if not edits:
        return None
    which = f"A norm follows {len(edits)} of the edited parameters"
    if all(edit.norms for edit in edits):
        centered = ", centered," if any(norm.centered for edit in edits for norm in edit.norms) else ""
        biases = " and v out of the norm's bias" if any(norm.bias for edit in edits for norm in edit.norms) else ""
        return (
            f"{which}; normalize(γ∘v){centered} was projected out of those{biases}, so that v vanishes after the norm"
        )
    return f"{which}, and its scale was ignored: part of the direction comes back after it"


def _turns(norm: Norm) -> bool:
    """Return whether a norm turns a direction, instead of changing only its length."""
    return norm.parameter is not None or norm.centered
