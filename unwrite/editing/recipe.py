"""From a trial's parameters to a recipe, every writer to be edited with its weight and direction; and what it makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from torch import Tensor

from unwrite.core.directions import interpolate, orthogonalize, residual_index, span_source, through_norms
from unwrite.core.edit import edit_bias, edited_blocks
from unwrite.core.kernel import kernel_weight
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.core.rounding import round_to
from unwrite.files.checkpoints import row_blocks
from unwrite.schema.artifacts import DirectionRef, Edit, EditSettings, Kernel, Norm, TrialParameters, Writer
from unwrite.schema.params import Optimize
from unwrite.terms import LayerSpan, NormPreservation, Orthogonalize, Scope

Spans = Sequence[LayerSpan]


def edit_settings(optimize: Optimize, orthogonalize: Orthogonalize) -> EditSettings:
    """What all trials share: from `optimize` in params.yaml, and how the stored directions were orthogonalized."""
    return EditSettings(
        norm_preservation=optimize.norm_preservation,
        edit_bias=optimize.edit_bias,
        post_norm=optimize.post_norm,
        orthogonalize=orthogonalize,
        spans=list(optimize.space.spans),
    )


def build_edits(parameters: TrialParameters, writers: Sequence[Writer], settings: EditSettings) -> list[Edit]:
    """The edits of one trial: a writer whose kernel weight is 0, or that no span covers, is not edited."""
    edits = []
    for writer in writers:
        kernel: Kernel = getattr(parameters, writer.component)
        weight = kernel_weight(writer.layer, **kernel.model_dump())
        index = source_index(parameters.direction_scope, parameters.direction_index, writer.layer, settings.spans)
        if weight == 0 or index is None:
            continue
        applied = residual_index(writer.layer)
        direction = DirectionRef(
            position=parameters.position,
            index=index,
            orthogonalize_to=applied if settings.orthogonalize == "biprojected" and index != applied else None,
        )
        edits.append(
            Edit(
                layer=writer.layer,
                component=writer.component,
                matrix=writer.matrix,
                bias=writer.bias if settings.edit_bias else None,
                norms=applied_norms(writer, settings),
                strength=weight,
                direction=direction,
            )
        )
    return edits


def applied_norms(writer: Writer, settings: EditSettings) -> list[Norm]:
    """The norms after a writer that its edit goes through: all, or none where `post_norm` is `ignore`."""
    return writer.norms if settings.post_norm == "compensate" else []


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


def applied_direction(
    edit: Edit, directions: Tensor, baseline_means: Tensor, parameters: Mapping[str, Tensor]
) -> Tensor:
    """The unit vector [d] (float64, or zero) that an edit projects out: v, or normalize(γ∘v) where norms follow.

    Args:
        edit: One of the recipe's.
        directions: [P, L+1, d].
        baseline_means: [P, L+1, d].
        parameters: Among them the weight [d] of each norm that the edit names, by its name in the model.

    Raises:
        UnwriteError: The index is outside [0, L], or a norm has another length.
    """
    direction = resolve_direction(edit.direction, directions, baseline_means)
    scales = [
        norm.offset + parameters[norm.parameter].to(direction) for norm in edit.norms if norm.parameter is not None
    ]
    return through_norms(direction, scales)


def parameter_names(edits: Iterable[Edit | Writer]) -> list[str]:
    """Every parameter of the model that the edits need: weights, biases, and the norms that follow. No name twice."""
    names: dict[str, None] = {}
    for edit in edits:
        names |= dict.fromkeys(layout.parameter for layout in (edit.matrix, edit.bias) if layout is not None)
        names |= dict.fromkeys(norm.parameter for norm in edit.norms if norm.parameter is not None)
    return list(names)


def edited_parameters(
    edits: Sequence[Edit],
    originals: Mapping[str, Tensor],
    norm_preservation: NormPreservation,
    directions: Tensor,
    baseline_means: Tensor,
) -> dict[str, Tensor]:
    """The edited value of every weight and bias a recipe names, the same bits as merging them on disk.

    Args:
        edits: The recipe's.
        originals: Value of each parameter of `parameter_names`, on any device.
        norm_preservation: What of each matrix's norms is kept.
        directions: [P, L+1, d].
        baseline_means: [P, L+1, d].

    Returns:
        By name, in the shape, dtype and device of the original.

    Raises:
        UnwriteError: A parameter doesn't have the layout that the recipe says.
    """
    values: dict[str, Tensor] = {}
    for edit in edits:
        direction = applied_direction(edit, directions, baseline_means, originals)
        weight = values[edit.matrix.parameter] = originals[edit.matrix.parameter].clone()
        edit_matrices(
            as_matrices(weight, edit.matrix.axis, edit.matrix.num_matrices), direction, edit.strength, norm_preservation
        )
        if edit.bias is not None:
            bias = values[edit.bias.parameter] = originals[edit.bias.parameter].clone()
            edit_vectors(as_vectors(bias, edit.bias.axis), direction, edit.strength)
    return values


def edit_matrices(matrices: Tensor, direction: Tensor, strength: float, norm_preservation: NormPreservation) -> None:
    """Overwrites each of some matrices with its edit: a few rows at a time in float64, rounded once to their dtype.

    Args:
        matrices: [G, d, k], each edited by itself.
        direction: [d], unit norm or zero.
        strength: λ.
        norm_preservation: What of each matrix's norms is kept.

    Raises:
        UnwriteError: As `edited_blocks`.
    """
    for matrix in matrices:
        blocks = edited_blocks(
            partial(blocks_of_matrix, matrix), direction.to(matrix.device), strength, norm_preservation
        )
        for rows, block in blocks:
            matrix[rows] = block


def edit_vectors(vectors: Tensor, direction: Tensor, strength: float) -> None:
    """Overwrites each of some biases [G, d] with its edit, rounded once to their dtype.

    Raises:
        UnwriteError: As `edit_bias`.
    """
    for vector in vectors:
        vector.copy_(round_to(edit_bias(vector, direction, strength), vector.dtype))


def blocks_of_matrix(matrix: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """A matrix [d, k] a few rows at a time, (rows, block [rows, k]), so that their float64 copies stay small."""
    for rows in row_blocks(matrix.shape):
        yield rows, matrix[rows]
