"""The edits that must be made on weights because activations cannot express them, and why.

An edit of one matrix is y ← r ⊙ (y − a (bᵀy)) on the output y of its module (`core.edit`). Where several matrices reach
the stream as one sum, as experts do, only their sum can be edited, so all of them must lose the same projection.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from unwrite.models.patching import is_matrix_product
from unwrite.schema.artifacts import Edit, Writer
from unwrite.terms import NormPreservation


def why_recipe_needs_weights(
    model: nn.Module, edits: Sequence[Edit], writers: Sequence[Writer], norm_preservation: NormPreservation
) -> str | None:
    """Return why an edit of a recipe must be made on weights, or None if activations can express them all.

    Args:
        model: the model that the writers belong to.
        edits: the edits of the recipe.
        writers: every writer of the model, edited or not.
        norm_preservation: which norms of each matrix are kept.
    """
    reasons = (why_edit_needs_weights(model, edit, edits, writers, norm_preservation) for edit in edits)
    return next((reason for reason in reasons if reason is not None), None)


def why_edit_needs_weights(
    model: nn.Module,
    edit: Edit,
    edits: Sequence[Edit],
    writers: Sequence[Writer],
    norm_preservation: NormPreservation,
) -> str | None:
    """Return why one edit must be made on weights, or None if activations can express it.

    Args:
        model: the model that the writers belong to.
        edit: one of `edits`.
        edits: the edits of the recipe.
        writers: every writer of the model, edited or not.
        norm_preservation: which norms of each matrix are kept.
    """
    name = edit.matrix.parameter
    writer = next(writer for writer in writers if writer.matrix.parameter == name)
    block = outermost_module(writer, writers)
    inside = [other for other in writers if _is_within(other.module, block)]
    if any(other.shared_layers for other in inside):
        return f"other layers use {name} too"
    if bias := next((other.bias for other in inside if _has_bare_bias(other)), None):
        return f"the model adds {bias.parameter} to what {block} outputs"
    if norm_preservation == "none" and _all_lose_the_same(edit, edits, inside):
        return None
    if len(inside) > 1:
        return f"{block} outputs the sum of {len(inside)} writers, which are not all edited by the same projection"
    if not is_matrix_product(model.get_submodule(writer.module)):
        return f"{writer.module} does more than multiply by {name}, and not all of its output is projected"
    return None


def _has_bare_bias(writer: Writer) -> bool:
    """Return whether a writer's bias is a parameter of the model outside the writer's module, so not in its output."""
    return writer.bias is not None and not _is_within(writer.bias.parameter, writer.module)


def module_of_norm_bias(parameter: str) -> str:
    """Return the module of a norm, which adds its bias last: discovery takes no bias that belongs to a module in it."""
    return parameter.rpartition(".")[0]


def outermost_module(writer: Writer, writers: Sequence[Writer]) -> str:
    """Return the outermost module of any writer that contains this one's: hooks on both would edit twice."""
    return min((other.module for other in writers if _is_within(writer.module, other.module)), key=len)


def _all_lose_the_same(edit: Edit, edits: Sequence[Edit], writers: Sequence[Writer]) -> bool:
    """Return whether every one of these writers is edited by the same projection, its bias included."""
    edit_of = {other.matrix.parameter: other for other in edits}
    return all(_loses_the_same(edit, edit_of.get(writer.matrix.parameter), writer) for writer in writers)


def _loses_the_same(edit: Edit, other: Edit | None, writer: Writer) -> bool:
    if other is None or (writer.bias is not None and other.bias is None):
        return False
    # One of them alone has the bias of a norm that they share.
    ours, others = ([norm.model_copy(update={"bias": None}) for norm in one.norms] for one in (edit, other))
    return (other.strength, other.direction, others) == (edit.strength, edit.direction, ours)


def _is_within(module: str, container: str) -> bool:
    return f"{module}.".startswith(f"{container}.")
