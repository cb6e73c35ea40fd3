"""A recipe as a low-rank adapter: the change of every edited parameter as two thin factors, and their error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.layout import as_matrices, as_vectors
from unwrite.core.low_rank import LowRank, change_rank, low_rank_change, relative_error
from unwrite.core.outputs import edit_bias
from unwrite.editing.blocks import blocks_of_matrix
from unwrite.editing.exact import applied_direction, naming_in_errors
from unwrite.editing.on_disk import matrix_parts
from unwrite.errors import UnwriteError, as_user_error
from unwrite.files.safetensors import StoredTensor, read_tensor
from unwrite.models.adapter_slots import slot_tensors
from unwrite.models.peft import Plan, Target
from unwrite.schema.artifacts import Artifact, Base, Edit, ParameterLayout, Recipe
from unwrite.terms import NormPreservation

_REPIN = "Run `dvc repro -f pin_model` and the later stages."


class AdaptedParameter(Artifact):
    """One parameter of the model: the rank of each of its matrices' change, and ‖ΔW − BA‖ / ‖ΔW‖ as measured.

    ΔW is the edit before it is rounded to the checkpoint's dtype. `bias` names the bias that is adapted with it.
    """

    parameter: str
    bias: str | None
    rank: int
    relative_error: float


class AdaptedMatrix(NamedTuple):
    """A parameter to adapt: the edit it is part of, its layout, the mode of its edit, and the target for PEFT."""

    edit: Edit
    layout: ParameterLayout
    mode: NormPreservation
    target: Target


def planned_changes(recipe: Recipe, base: Base, rank: int) -> list[AdaptedMatrix]:
    """List every parameter that an adapter of the recipe changes; the biases of experts [G, d] count as one matrix.

    Args:
        recipe: the recipe.
        base: the record of the base model.
        rank: the largest rank of the change of a matrix.

    Raises:
        UnwriteError: the recipe edits nothing, or a parameter that the base does not have or has in another shape.
    """
    if not recipe.edits:
        raise UnwriteError(
            "The recipe edits nothing, so there is nothing to adapt. Select another trial (select.trial), "
            "or set adapter.rank to null."
        )
    shapes = {writer.matrix.parameter: writer.shape for writer in base.writers}
    mode = recipe.settings.norm_preservation
    changes = []
    for edit in recipe.edits:
        matrix, bias = edit.matrix, edit.bias
        if matrix.parameter not in shapes:
            raise UnwriteError(f"The recipe names {matrix.parameter}, which is not in the pinned model. {_REPIN}")
        with as_user_error(matrix.parameter, _REPIN):
            _, d, k = as_matrices(
                torch.empty(shapes[matrix.parameter], device="meta"), matrix.axis, matrix.num_matrices
            ).shape
        vector = bias.parameter if bias is not None and bias.num_matrices == 1 else None
        target = Target(matrix.parameter, matrix.axis, matrix.num_matrices, change_rank((d, k), mode, rank), vector)
        changes.append(AdaptedMatrix(edit, matrix, mode, target))
        if bias is not None and bias.num_matrices > 1:
            changes.append(AdaptedMatrix(edit, bias, "none", Target(bias.parameter, bias.axis, 1, 1, None)))
        vectors = [norm.bias for norm in edit.norms if norm.bias is not None]  # which the plan refuses
        changes += [AdaptedMatrix(edit, one, "none", Target(one.parameter, 0, 1, 1, None)) for one in vectors]
    return changes


def adapter_values(
    changes: Sequence[AdaptedMatrix],
    plan: Plan,
    tensors: Mapping[str, StoredTensor],
    directions: Mapping[str, Tensor],
    advance: Callable[[int], object],
) -> tuple[dict[str, Tensor], list[AdaptedParameter]]:
    """Compute the adapter's tensors and their approximation error, reading one matrix at a time.

    Args:
        changes: from `planned_changes`.
        plan: where the adapter holds the factors of each parameter.
        tensors: the base's tensors, by name.
        directions: the tensors of directions.safetensors, `directions` and `baseline_mean`, each [P, L+1, d].
        advance: called with 1 after each parameter.

    Returns:
        (the tensors by name, float32; one record per parameter).

    Raises:
        UnwriteError: the checkpoint lacks a tensor of the recipe, or nothing changes at all.
    """
    values: dict[str, Tensor] = {}
    adapted: list[AdaptedParameter] = []
    total_change = 0.0
    for change in changes:
        norms = {
            norm.parameter: read_tensor(_stored(tensors, norm.tensor))
            for norm in change.edit.norms
            if norm.parameter is not None and norm.tensor is not None
        }
        with as_user_error(change.layout.parameter):
            direction = applied_direction(
                change.edit.direction, change.edit.norms, directions["directions"], directions["baseline_mean"], norms
            )
        with naming_in_errors(change.layout.parameter):
            parts = _low_rank_parts(change, tensors, direction)
            bias = _bias_change(change, tensors, direction)
        for slot in plan.slots[change.target.parameter]:
            values |= slot_tensors(slot, [(part.left, part.right) for part in parts], bias)
        adapted.append(_record(change.target, parts))
        total_change += sum(part.change for part in parts)
        advance(1)
    if total_change == 0:
        raise UnwriteError("The recipe changes no weight: every direction it names is zero. Select another trial.")
    return values, adapted


def _low_rank_parts(change: AdaptedMatrix, tensors: Mapping[str, StoredTensor], direction: Tensor) -> list[LowRank]:
    """Return the factors of each matrix, in the parameter's order."""
    return [
        low_rank_change(
            partial(blocks_of_matrix, matrix), direction, change.edit.strength, change.mode, change.target.rank
        )
        for matrix in _matrices(change, tensors)
    ]


def _matrices(change: AdaptedMatrix, tensors: Mapping[str, StoredTensor]) -> Iterator[Tensor]:
    """Yield the matrices [d, k] of a weight one by one; the biases of experts [G, d] as one matrix [d, G]."""
    if change.layout is change.edit.bias:
        stored = change.layout.stored
        yield torch.cat([as_vectors(read_tensor(_stored(tensors, layout.tensor)), layout.axis) for layout in stored]).T
        return
    for layout in change.layout.stored:
        for part in matrix_parts(_stored(tensors, layout.tensor), layout):
            values = read_tensor(part.tensor)
            yield from as_matrices(values, part.axis, part.num_matrices)


def _bias_change(change: AdaptedMatrix, tensors: Mapping[str, StoredTensor], direction: Tensor) -> Tensor | None:
    """Return what the edit adds to the bias that is adapted with the weight, [d] float32, if there is one."""
    if change.target.bias is None or change.edit.bias is None:
        return None
    bias = read_tensor(_stored(tensors, change.edit.bias.stored[0].tensor))
    return (edit_bias(bias, direction, change.edit.strength) - bias.to(torch.float64)).to(torch.float32)


def _record(target: Target, parts: Sequence[LowRank]) -> AdaptedParameter:
    return AdaptedParameter(
        parameter=target.parameter, bias=target.bias, rank=target.rank, relative_error=relative_error(parts)
    )


def _stored(tensors: Mapping[str, StoredTensor], name: str) -> StoredTensor:
    if name not in tensors:
        raise UnwriteError(f"The recipe names {name}, which the checkpoint does not have. {_REPIN}")
    return tensors[name]
