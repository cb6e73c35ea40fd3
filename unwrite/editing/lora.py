"""The recipe as an adapter: the change of every edited parameter in low rank, and what that misses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from unwrite.core.edit import edit_bias
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.core.low_rank import LowRank, change_rank, low_rank_change, relative_error
from unwrite.editing.blocks import blocks_of_matrix
from unwrite.editing.checkpoint import matrix_parts
from unwrite.editing.exact import applied_direction
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import StoredTensor, read_rows
from unwrite.models.peft import Plan, Target, slot_tensors
from unwrite.schema.artifacts import Artifact, Base, Edit, FileDigest, ParameterLayout, Recipe
from unwrite.schema.parsing import FORMAT
from unwrite.terms import NormPreservation

_ROUNDING = 1e-6  # float32's, with room
_AGAIN = "Run `dvc repro -f pin_model` and what follows."


class AdaptedParameter(Artifact):
    """One parameter of the model: the rank of each of its matrices' change, and ‖ΔW − BA‖ / ‖ΔW‖ as measured.

    ΔW is the edit before it is rounded to the checkpoint's dtype. `bias` is the bias that is adapted beside it.
    """

    parameter: str
    bias: str | None
    rank: int
    relative_error: float


class AdapterManifest(Artifact):
    """`artifacts/adapter/adapter.json`: which base the adapter is of, what it misses of the edit, and its files."""

    format: Literal[2] = FORMAT
    base: str
    commit: str | None
    norm_preservation: NormPreservation
    largest_error: float
    parameters: list[AdaptedParameter]
    files: list[FileDigest]


class AdaptedMatrix(NamedTuple):
    """A parameter to adapt: whose edit it is part of, how its matrices lie, in which mode they are edited."""

    edit: Edit
    layout: ParameterLayout
    mode: NormPreservation
    target: Target


def planned_changes(recipe: Recipe, base: Base, rank: int) -> list[AdaptedMatrix]:
    """Every parameter that an adapter of the recipe changes; the biases of experts [G, d] are one matrix each.

    Raises:
        UnwriteError: The recipe edits nothing, or what the pinned model doesn't have.
    """
    if not recipe.edits:
        raise UnwriteError(
            "The recipe edits nothing, so there is nothing to adapt. Select another trial (select.trial), "
            "or set adapter.rank to null."
        )
    shapes = {writer.matrix.parameter: writer.shape for writer in base.writers}
    changes = []
    for edit in recipe.edits:
        matrix, bias = edit.matrix, edit.bias
        if matrix.parameter not in shapes:
            raise UnwriteError(f"The recipe names {matrix.parameter}, which was not found in the model. {_AGAIN}")
        like = as_matrices(torch.empty(shapes[matrix.parameter], device="meta"), matrix.axis, matrix.num_matrices)
        each = change_rank((like.shape[1], like.shape[2]), recipe.settings.norm_preservation, rank)
        vector = bias.parameter if bias is not None and bias.num_matrices == 1 else None
        target = Target(matrix.parameter, matrix.axis, matrix.num_matrices, each, vector)
        changes.append(AdaptedMatrix(edit, matrix, recipe.settings.norm_preservation, target))
        if bias is not None and vector is None:
            changes.append(AdaptedMatrix(edit, bias, "none", Target(bias.parameter, bias.axis, 1, 1, None)))
    return changes


def adapter_values(
    changes: Sequence[AdaptedMatrix],
    plan: Plan,
    tensors: Mapping[str, StoredTensor],
    directions: Mapping[str, Tensor],
    advance: Callable[[int], object],
) -> tuple[dict[str, Tensor], list[AdaptedParameter]]:
    """The adapter's tensors by name, float32, and what they miss; one matrix is read at a time.

    Args:
        changes: From `planned_changes`.
        plan: Where the adapter holds their factors.
        tensors: The base checkpoint's.
        directions: What directions.safetensors holds: `directions` and `baseline_mean`, [P, L+1, d].
        advance: Called with 1 for each parameter done.

    Raises:
        UnwriteError: The checkpoint doesn't hold what the recipe says, or nothing changes at all.
    """
    values: dict[str, Tensor] = {}
    adapted = []
    changed = 0.0
    for edit, layout, mode, target in changes:
        norms = {n.parameter: _read(tensors, n.tensor) for n in edit.norms if n.parameter and n.tensor}
        direction = applied_direction(edit, directions["directions"], directions["baseline_mean"], norms)
        parts = [
            low_rank_change(partial(blocks_of_matrix, matrix), direction, edit.strength, mode, target.rank)
            for matrix in _matrices(tensors, edit, layout)
        ]
        beside = edit.bias if target.bias is not None else None
        bias = (
            None if beside is None else _bias_change(_read(tensors, beside.stored[0].tensor), direction, edit.strength)
        )
        for slot in plan.slots[target.parameter]:
            values |= slot_tensors(slot, [(part.left, part.right) for part in parts], bias)
        adapted.append(_record(target, parts))
        changed += sum(part.change for part in parts)
        advance(1)
    if changed == 0:
        raise UnwriteError("The recipe changes no weight: every direction it names is zero. Select another trial.")
    return values, adapted


def error_line(adapted: Sequence[AdaptedParameter]) -> str:
    """What an adapter misses, in a line of log."""
    errors = [one.relative_error for one in adapted]
    ranks = sorted({one.rank for one in adapted})
    span = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    shares = f"{100 * statistics.median(errors):.2g} % at the median, {100 * max(errors):.2g} % at most"
    misses = shares if max(errors) > _ROUNDING else "nothing but rounding"
    return f"{len(adapted)} parameters in rank {span}; of the change of a weight it misses {misses}"


def _record(target: Target, parts: Sequence[LowRank]) -> AdaptedParameter:
    return AdaptedParameter(
        parameter=target.parameter, bias=target.bias, rank=target.rank, relative_error=relative_error(parts)
    )


def _matrices(tensors: Mapping[str, StoredTensor], edit: Edit, layout: ParameterLayout) -> Iterator[Tensor]:
    """The matrices [d, k] of a weight in the parameter's order, read one by one; or a bias [G, d] as one, [d, G]."""
    if layout is edit.bias:
        yield torch.cat([as_vectors(_read(tensors, place.tensor), place.axis) for place in layout.stored]).T
        return
    for place in layout.stored:
        for part, axis, num_matrices in matrix_parts(_stored(tensors, place.tensor), place):
            yield from as_matrices(read_rows(part, slice(0, part.shape[0])), axis, num_matrices)


def _bias_change(bias: Tensor, direction: Tensor, strength: float) -> Tensor:
    """What an edit adds to a bias, [d], float32."""
    return (edit_bias(bias, direction, strength) - bias.to(torch.float64)).to(torch.float32)


def _stored(tensors: Mapping[str, StoredTensor], name: str) -> StoredTensor:
    if name not in tensors:
        raise UnwriteError(f"The recipe names {name}, which the checkpoint doesn't have. {_AGAIN}")
    return tensors[name]


def _read(tensors: Mapping[str, StoredTensor], name: str) -> Tensor:
    tensor = _stored(tensors, name)
    return read_rows(tensor, slice(0, tensor.shape[0]))
