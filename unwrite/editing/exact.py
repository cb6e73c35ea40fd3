"""A recipe applied to weights exactly: in float64, rounded once, the same bits in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from torch import Tensor

from unwrite.core.directions import interpolate, orthogonalize, through_norms
from unwrite.core.edit import edited_blocks
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.core.outputs import edit_bias
from unwrite.core.rounding import round_to
from unwrite.editing.blocks import blocks_of_matrix
from unwrite.errors import as_user_error
from unwrite.schema.artifacts import DirectionRef, Edit, Writer
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
    edit: Edit, directions: Tensor, baseline_means: Tensor, parameters: Mapping[str, Tensor]
) -> Tensor:
    """Compute the direction that an edit projects out: v, or normalize(γ∘v) where norms follow the writer.

    Args:
        edit: one edit of a recipe.
        directions: the stored directions, [P, L+1, d].
        baseline_means: the means of the baseline residuals, [P, L+1, d].
        parameters: the weight [d] of each norm that the edit names, by its name in the model; others are ignored.

    Returns:
        [d], float64: a unit vector, or zero where there is no direction.

    Raises:
        ValueError: as `resolve_direction`, or the weight of a norm has another length than d.
    """
    direction = resolve_direction(edit.direction, directions, baseline_means)
    scales = [
        norm.offset + parameters[norm.parameter].to(direction) for norm in edit.norms if norm.parameter is not None
    ]
    return through_norms(direction, scales)


def parameter_names(edits: Iterable[Edit | Writer]) -> list[str]:
    """List every parameter of the model that edits need, once: weights, biases, and the norms that follow."""
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
            direction = applied_direction(edit, directions, baseline_means, originals)
        with naming_in_errors(edit.matrix.parameter):
            matrices = as_matrices(weight, edit.matrix.axis, edit.matrix.num_matrices)
            edit_matrices(matrices, direction, edit.strength, norm_preservation)
        if edit.bias is not None:
            bias = values[edit.bias.parameter] = originals[edit.bias.parameter].clone()
            with naming_in_errors(edit.bias.parameter):
                edit_vectors(as_vectors(bias, edit.bias.axis), direction, edit.strength)
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
