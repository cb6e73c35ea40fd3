"""A recipe on activations: what writers put out is edited while the model runs, wherever that is as good as weights.

y ← r ⊙ (y − a (bᵀy)), the input scaled by c, is the edit of *one* matrix (`core.edit`). Several whose outputs leave a
module as one sum, experts say, can only be edited so where the edit doesn't depend on the matrix: `none`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unwrite.artifacts import Edit, Writer
from unwrite.core.edit import edit_bias, edit_output, factors
from unwrite.core.layout import as_matrices
from unwrite.models.apply import Change, changed_modules, is_matrix_product, replaced_parameters
from unwrite.params import NormPreservation
from unwrite.recipe import applied_direction, edited_parameters


@contextmanager
def edited_activations(
    model: nn.Module,
    edits: Sequence[Edit],
    writers: Sequence[Writer],
    originals: Mapping[str, Tensor],
    *,
    norm_preservation: NormPreservation,
    directions: Tensor,
    baseline_means: Tensor,
) -> Iterator[None]:
    """While open, the model computes as if its weights were edited; only those `inexpressible` names are exchanged.

    Args:
        model: Whose modules the writers name.
        edits: The recipe's.
        writers: Every writer of the model, edited or not.
        originals: Value of each parameter of `parameter_names`, of edits and writers.
        norm_preservation: What of each matrix's norms is kept.
        directions: [P, L+1, d].
        baseline_means: [P, L+1, d].

    Raises:
        UnwriteError: As `edited_parameters`, and if the model passes a module by.
    """
    by_parameter = {writer.matrix.parameter: writer for writer in writers}
    by_weights: list[Edit] = []
    changes: dict[str, Change] = {}
    for edit in edits:
        if inexpressible(model, edit, edits, writers, norm_preservation) is not None:
            by_weights.append(edit)
            continue
        writer = by_parameter[edit.matrix.parameter]
        direction = applied_direction(edit, directions, baseline_means, originals)
        changes[_block(writer, writers)] = _change(edit, writer, originals, norm_preservation, direction)
    values = edited_parameters(by_weights, originals, norm_preservation, directions, baseline_means)
    with replaced_parameters(model, values), changed_modules(model, changes):
        yield


def inexpressible(
    model: nn.Module,
    edit: Edit,
    edits: Sequence[Edit],
    writers: Sequence[Writer],
    norm_preservation: NormPreservation,
) -> str | None:
    """Why an edit has to be made on weights; None where activations will do.

    Args:
        model: Whose modules the writers name.
        edit: One of `edits`.
        edits: The recipe's.
        writers: Every writer of the model, edited or not.
        norm_preservation: What of each matrix's norms is kept.
    """
    edited = {one.matrix.parameter: one for one in edits}
    writer = next(writer for writer in writers if writer.matrix.parameter == edit.matrix.parameter)
    block = _block(writer, writers)
    inside = [other for other in writers if _is_within(other.module, block)]
    if any(other.also for other in inside):
        return f"other layers use {edit.matrix.parameter} too"
    if norm_preservation == "none" and all(
        _projects_alike(edit, edited.get(other.matrix.parameter), other) for other in inside
    ):
        return None
    if len(inside) > 1:
        return f"{block} puts out the sum of {len(inside)} writers, which are not all edited by the same projection"
    if not is_matrix_product(model.get_submodule(writer.module)):
        return (
            f"{writer.module} does more than multiply by {edit.matrix.parameter}, and not all it puts out is projected"
        )
    return None


def _block(writer: Writer, writers: Sequence[Writer]) -> str:
    """The outermost module of a writer that holds this one's: a hook there and another inside would edit twice."""
    return min((other.module for other in writers if _is_within(writer.module, other.module)), key=len)


def _is_within(module: str, other: str) -> bool:
    return f"{module}.".startswith(f"{other}.")


def _projects_alike(edit: Edit, other: Edit | None, writer: Writer) -> bool:
    """Whether the other edit takes the same out of all that its writer puts out, the bias included."""
    if other is None or (writer.bias is not None and other.bias is None):
        return False
    return (other.weight, other.direction, other.norms) == (edit.weight, edit.direction, edit.norms)


def _change(
    edit: Edit,
    writer: Writer,
    originals: Mapping[str, Tensor],
    norm_preservation: NormPreservation,
    direction: Tensor,
) -> Change:
    """The change of a module that is as good as the edit of its weight and bias."""
    matrix = as_matrices(originals[edit.matrix.parameter], edit.matrix.axis, edit.matrix.groups)[0]
    if norm_preservation == "none":
        matrix = torch.zeros(len(direction), 1, device=matrix.device)  # r, a and b don't depend on it
    found = factors(
        lambda: [(slice(0, len(matrix)), matrix)], direction.to(matrix.device), edit.weight, norm_preservation
    )
    scale = found.c if norm_preservation == "columns" else None
    if writer.bias is None or (norm_preservation == "none" and edit.bias is not None):
        return Change(scale, lambda y: edit_output(y, found))
    before = after = originals[writer.bias.parameter].to(torch.float64)
    if edit.bias is not None:
        after = edit_bias(before, direction, edit.weight)
    return Change(scale, _around_bias(lambda y: edit_output(y, found), before, after))


def _around_bias(edit: Callable[[Tensor], Tensor], before: Tensor, after: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda y: edit(y - before.to(y)) + after.to(y)
