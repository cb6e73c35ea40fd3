"""A recipe applied to weights exactly: in float64, rounded once, the same bits in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor

from unwrite.core.directions import AffineNorm, interpolate, orthogonalize, through_norms
from unwrite.core.edit import edited_blocks
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.core.outputs import edit_bias
from unwrite.core.rounding import round_to
from unwrite.editing.blocks import blocks_of_matrix
from unwrite.errors import as_user_error
from unwrite.schema.artifacts import DirectionRef, Edit, Norm, Writer, biases_of
from unwrite.terms import NormPreservation


def naming_in_errors(name: str) -> AbstractContextManager[None]:
    """Return a context that names the parameter or tensor, with a remedy, in the errors of its edit."""
    return as_user_error(name, "Check the files of the base model, or lower max_weight in params.yaml.")


def resolve_direction(reference: DirectionRef, directions: Tensor, baseline_means: Tensor) -> Tensor:
    """Compute the direction that a reference names.

    Args:
        reference: the position, the residual index, and the mean to orthogonalize against, if any.
        directions: the stored directions, [P, L+1, d].
        baseline_means: the means of the baseline residuals, [P, L+1, d].

    Returns:
        [d], float64: a unit vector, or zero where there is no direction.

    Raises:
        ValueError: the position is outside [0, P), or an index outside [0, L].
    """
    positions, indices = directions.shape[:2]
    if not 0 <= reference.position < positions:
        raise ValueError(f"direction position must be in [0, {positions - 1}], got {reference.position}")
    direction = interpolate(directions[reference.position], reference.index)
    if reference.orthogonalize_to is None:
        return direction
    if not 0 <= reference.orthogonalize_to < indices:
        raise ValueError(f"orthogonalize_to must be in [0, {indices - 1}], got {reference.orthogonalize_to}")
    return orthogonalize(direction, baseline_means[reference.position, reference.orthogonalize_to])


def applied_direction(
    reference: DirectionRef,
    norms: Sequence[Norm],
    directions: Tensor,
    baseline_means: Tensor,
    parameters: Mapping[str, Tensor],
) -> Tensor:
    """Compute what to project out of a weight or bias: v, or the vector that turns into v in the norms after it.

    Args:
        reference: the direction of the edit.
        norms: the norms between the weight or bias and the stream.
        directions: the stored directions, [P, L+1, d].
        baseline_means: the means of the baseline residuals, [P, L+1, d].
        parameters: the weight [d] of each of the norms, by its name in the model; others are ignored.

    Returns:
        [d], float64: a unit vector, or zero where there is no direction.

    Raises:
        ValueError: as `resolve_direction`, or the weight of a norm has another length than d.
    """
    direction = resolve_direction(reference, directions, baseline_means)
    return through_norms(direction, affine_norms(norms, parameters, len(direction)))


def affine_norms(norms: Sequence[Norm], parameters: Mapping[str, Tensor], width: int) -> list[AffineNorm]:
    """Return what norms do to a direction, in float64 on the CPU; those that change only its length are left out.

    Args:
        norms: the norms, in order.
        parameters: the weight [d] of each, by its name in the model.
        width: d.
    """
    return [
        AffineNorm(
            torch.ones(width, dtype=torch.float64)
            if norm.parameter is None
            else norm.offset + parameters[norm.parameter].cpu().to(torch.float64),
            norm.centered,
        )
        for norm in norms
        if norm.parameter is not None or norm.centered
    ]


def parameter_names(edits: Iterable[Edit | Writer]) -> list[str]:
    """List every parameter of the model that edits need, once: weights, biases, and the norms that follow."""
    names: dict[str, None] = {}
    for edit in edits:
        layouts = [edit.matrix, *(placed.layout for placed in biases_of(edit))]
        names |= dict.fromkeys(layout.parameter for layout in layouts)
        names |= dict.fromkeys(norm.parameter for norm in edit.norms if norm.parameter is not None)
    return list(names)


def edited_parameters(
    edits: Sequence[Edit],
    originals: Mapping[str, Tensor],
    norm_preservation: NormPreservation,
    directions: Tensor,
    baseline_means: Tensor,
) -> dict[str, Tensor]:
    """Compute the edited value of every weight and bias that a recipe names: the bits that a merged checkpoint stores.

    Args:
        edits: the edits of the recipe.
        originals: the value of each parameter of `parameter_names`, by name, on any device.
        norm_preservation: which norms of each matrix are kept.
        directions: the stored directions, [P, L+1, d].
        baseline_means: the means of the baseline residuals, [P, L+1, d].

    Returns:
        The edited values by name, in the shape and dtype and on the device of the originals.

    Raises:
        UnwriteError: a parameter does not have the layout that the recipe states, or cannot be edited: it holds NaN, or
            the result is beyond the range of its dtype.
    """
    values: dict[str, Tensor] = {}
    for edit in edits:
        weight = values[edit.matrix.parameter] = originals[edit.matrix.parameter].clone()
        with as_user_error(edit.matrix.parameter):
            direction = applied_direction(edit.direction, edit.norms, directions, baseline_means, originals)
        with naming_in_errors(edit.matrix.parameter):
            matrices = as_matrices(weight, edit.matrix.axis, edit.matrix.num_matrices)
            edit_matrices(matrices, direction, edit.strength, norm_preservation)
        values |= values_of_biases(edit, originals, directions, baseline_means)
    return values


def values_of_biases(
    edit: Edit, originals: Mapping[str, Tensor], directions: Tensor, baseline_means: Tensor
) -> dict[str, Tensor]:
    """Compute the edited value of every bias of an edit: that of its writer, and those of the norms after it.

    Args:
        edit: one edit of a recipe.
        originals: the value of each parameter of `parameter_names`, by name, on any device.
        directions: the stored directions, [P, L+1, d].
        baseline_means: the means of the baseline residuals, [P, L+1, d].

    Returns:
        The edited values by name, as in `edited_parameters`.

    Raises:
        UnwriteError: as in `edited_parameters`.
    """
    values: dict[str, Tensor] = {}
    for layout, norms in biases_of(edit):
        bias = values[layout.parameter] = originals[layout.parameter].clone()
        with naming_in_errors(layout.parameter):
            direction = applied_direction(edit.direction, norms, directions, baseline_means, originals)
            edit_vectors(as_vectors(bias, layout.axis), direction, edit.strength)
    return values


def edit_matrices(matrices: Tensor, direction: Tensor, strength: float, norm_preservation: NormPreservation) -> None:
    """Overwrite every matrix with its edit, a few rows at a time in float64, rounded once to its dtype.

    Args:
        matrices: [G, d, k], each edited independently.
        direction: [d], a unit vector or zero.
        strength: λ.
        norm_preservation: which norms of each matrix are kept.

    Raises:
        ValueError: as in `edited_blocks`.
    """
    for matrix in matrices:
        read_blocks = partial(blocks_of_matrix, matrix)
        for rows, block in edited_blocks(read_blocks, direction.to(matrix.device), strength, norm_preservation):
            matrix[rows] = block


def edit_vectors(vectors: Tensor, direction: Tensor, strength: float) -> None:
    """Overwrite every bias with its edit, rounded once to its dtype.

    Args:
        vectors: [G, d], each edited independently.
        direction: [d], a unit vector or zero.
        strength: λ.

    Raises:
        ValueError: as in `edit_bias` and `round_to`.
    """
    for vector in vectors:
        vector.copy_(round_to(edit_bias(vector, direction, strength), vector.dtype))
