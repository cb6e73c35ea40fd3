"""A recipe on weights in memory, for a trial: from products, in the dtype that the model computes in or float32.

What a release is made of comes from `exact.edited_parameters`, the same bits on any machine. This is many times faster
and equal to float32 rounding, which in bfloat16 moves one number in a hundred thousand to its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unwrite.core.layout import as_matrices, as_vectors
from unwrite.editing.edit_cache import EditCache, factors_of_trials
from unwrite.editing.exact import applied_direction, edit_vectors, edited_parameters
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Edit
from unwrite.terms import NormPreservation


def edited_weights(edits: Sequence[Edit], form: EditCache) -> dict[str, Tensor]:
    """The edited value of every weight and bias a recipe names; experts, which have no products, to the bit.

    Args:
        edits: The recipe's.
        form: What closed forms are made of, with the value of each parameter of `parameter_names`.

    Returns:
        By name, in the shape, dtype and device of the original.

    Raises:
        UnwriteError: A weight is quantized, or as `edited_parameters`.
    """
    values: dict[str, Tensor] = {}
    for edit in edits:
        layout, weight = edit.matrix, form.parameters[edit.matrix.parameter]
        if not weight.is_floating_point():
            raise UnwriteError(f"{layout.parameter} is quantized in memory, so it can't be edited there.")
        if layout.num_matrices > 1:
            values |= edited_parameters(
                [edit], form.parameters, form.norm_preservation, form.directions, form.baseline_means
            )
            continue
        values[layout.parameter] = torch.empty_like(weight)
        matrix, edited = (
            as_matrices(tensor, layout.axis, layout.num_matrices)[0] for tensor in (weight, values[layout.parameter])
        )
        edited.copy_(_edited(matrix, edit, form))
        if edit.bias is not None:
            bias = values[edit.bias.parameter] = form.parameters[edit.bias.parameter].clone()
            direction = applied_direction(edit, form.directions, form.baseline_means, form.parameters)
            edit_vectors(as_vectors(bias, edit.bias.axis), direction, edit.strength)
    return values


def _edited(matrix: Tensor, edit: Edit, form: EditCache) -> Tensor:
    """diag(r) (W − a s) diag(c), [d, k], in the matrix's dtype or float32."""
    wide = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    r, a, _, c, s = (values[0].to(wide) for values in factors_of_trials(form, [edit]))
    found = torch.addr(wide, a, s, alpha=-1)
    scaled: dict[NormPreservation, Tensor] = {"rows": r.unsqueeze(1), "columns": c}
    return found.mul_(scaled[form.norm_preservation]) if form.norm_preservation in scaled else found
