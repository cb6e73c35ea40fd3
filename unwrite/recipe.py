"""From a trial's parameters to a recipe: every parameter to be edited, with its weight and direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from unwrite.artifacts import DirectionRef, Edit, Kernel, TrialParameters, Writer
from unwrite.core.directions import interpolate, orthogonalize, residual_index, span_source
from unwrite.core.edit import edit_bias, edited_blocks
from unwrite.core.kernel import kernel_weight
from unwrite.core.rounding import round_to
from unwrite.files.checkpoints import row_blocks
from unwrite.params import NormPreservation, Scope

Spans = Sequence[tuple[int, int, int]]


def build_edits(
    parameters: TrialParameters, writers: Sequence[Writer], *, spans: Spans, biprojected: bool, edit_bias: bool
) -> list[Edit]:
    """The edits of one trial: a writer whose kernel weight is 0, or that no span covers, is not edited."""
    edits = []
    for writer in writers:
        kernel: Kernel = getattr(parameters, writer.component)
        weight = kernel_weight(writer.layer, **kernel.model_dump())
        index = source_index(parameters.direction_scope, parameters.direction_index, writer.layer, spans)
        if weight == 0 or index is None:
            continue
        applied = residual_index(writer.layer)
        direction = DirectionRef(
            position=parameters.position,
            index=index,
            orthogonalize_to=applied if biprojected and index != applied else None,
        )
        edits.append(
            Edit(
                parameter=writer.parameter,
                bias=writer.bias if edit_bias else None,
                layer=writer.layer,
                component=writer.component,
                weight=weight,
                direction=direction,
            )
        )
    return edits


def source_index(scope: Scope, direction_index: float, layer: int, spans: Spans) -> float | None:
    """The residual index whose direction the writers of `layer` get; None for a layer in no span.

    `global`: the trial's index, for every layer. `per_layer`: the layer's own output. `spans`: the output of the span's
    source layer (Lai 2025).
    """
    if scope == "global":
        return direction_index
    source = layer if scope == "per_layer" else span_source(spans, layer)
    return None if source is None else float(residual_index(source))


def resolve_direction(reference: DirectionRef, directions: Tensor, baseline_means: Tensor) -> Tensor:
    """The unit vector [d] (float64; zero where there is no direction) that a reference means.

    Args:
        reference: Position, real-valued residual index, and what to orthogonalize against, if anything.
        directions: [P, L+1, d].
        baseline_means: [P, L+1, d].

    Raises:
        UnwriteError: The index is outside [0, L].
    """
    direction = interpolate(directions[reference.position], reference.index)
    if reference.orthogonalize_to is None:
        return direction
    return orthogonalize(direction, baseline_means[reference.position, reference.orthogonalize_to])


def edited_parameters(
    edits: Sequence[Edit],
    originals: Mapping[str, Tensor],
    norm_preservation: NormPreservation,
    directions: Tensor,
    baseline_means: Tensor,
) -> dict[str, Tensor]:
    """The edited value of every parameter a recipe names: float64 arithmetic, rounded once to the original's dtype.

    Args:
        edits: The recipe's.
        originals: Value of each weight [d, k] and bias [d] that the recipe names.
        norm_preservation: What of the weight's norms is kept.
        directions: [P, L+1, d].
        baseline_means: [P, L+1, d].
    """
    values: dict[str, Tensor] = {}
    for edit in edits:
        direction = resolve_direction(edit.direction, directions, baseline_means)
        weight = originals[edit.parameter]
        blocks = edited_blocks(partial(_blocks, weight), direction.to(weight.device), edit.weight, norm_preservation)
        values[edit.parameter] = torch.cat([block for _, block in blocks])
        if edit.bias is not None:
            bias = originals[edit.bias]
            values[edit.bias] = round_to(edit_bias(bias, direction, edit.weight), bias.dtype)
    return values


def _blocks(weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """A weight a few rows at a time, so that their float64 copies stay small."""
    for rows in row_blocks(weight.shape):
        yield rows, weight[rows]
