"""The stored tensors that a recipe changes, and a check that the recipe fits a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.layout import as_matrices, as_vectors
from unwrite.editing.exact import applied_direction
from unwrite.errors import UnwriteError, as_user_error
from unwrite.files.safetensors import StoredTensor, read_tensor, torch_dtype
from unwrite.schema.artifacts import Edit, Norm, Recipe, StoredLayout, biases_of
from unwrite.schema.paths import RECIPE
from unwrite.terms import NormPreservation


class TensorChange(NamedTuple):
    """The change of one stored tensor.

    Attributes:
        layout: the layout of its matrices, or of the vectors of a bias.
        strength: λ.
        direction: the direction to project out, [d] float64: a unit vector, after the norms that follow the writer, or
            zero.
        norm_preservation: which norms of each matrix are kept.
        bias: whether the tensor holds biases [d] instead of matrices [d, k].
    """

    layout: StoredLayout
    strength: float
    direction: Tensor
    norm_preservation: NormPreservation
    bias: bool


def changes_of(
    recipe: Recipe, tensors: Mapping[str, StoredTensor], directions: Mapping[str, Tensor]
) -> dict[str, TensorChange]:
    """Return the change of each tensor that a recipe edits, by the tensor's name.

    Args:
        recipe: the recipe.
        tensors: the base's tensors, by name; the weights of the norms that follow a writer are read from them.
        directions: the tensors of directions.safetensors, `directions` and `baseline_mean`, each [P, L+1, d].

    Raises:
        UnwriteError: the recipe does not fit the base, edits a tensor twice, or names a direction that does not exist.
    """
    check_recipe_fits(tensors, recipe, directions["directions"].shape[-1])
    changes: dict[str, TensorChange] = {}
    for edit in recipe.edits:
        weights = read_norms(tensors, edit)
        for part in _parts(edit):
            with as_user_error(edit.matrix.parameter):
                direction = applied_direction(
                    edit.direction, part.norms, directions["directions"], directions["baseline_mean"], weights
                )
            for layout in part.stored:
                if layout.tensor in changes:
                    raise UnwriteError(f"{RECIPE} edits {layout.tensor} twice.")
                changes[layout.tensor] = TensorChange(
                    layout, edit.strength, direction, recipe.settings.norm_preservation, part.bias
                )
    return changes


def read_norms(tensors: Mapping[str, StoredTensor], edit: Edit) -> dict[str, Tensor]:
    """Read the weight of each norm that an edit names, by the norm's parameter in the model."""
    return {
        norm.parameter: read_tensor(tensors[norm.tensor])
        for norm in edit.norms
        if norm.parameter is not None and norm.tensor is not None
    }


def check_recipe_fits(tensors: Mapping[str, StoredTensor], recipe: Recipe, hidden_size: int) -> None:
    """Check that a recipe fits a checkpoint, from the checkpoint's headers alone.

    Args:
        tensors: the checkpoint's tensors, by name.
        recipe: the recipe.
        hidden_size: d.

    Raises:
        UnwriteError: a tensor of the recipe is missing in the checkpoint, has another shape, or is not floating-point.
    """
    for edit in recipe.edits:
        for part in _parts(edit):
            for layout in part.stored:
                if part.bias:
                    view = partial(as_vectors, axis=layout.axis)
                else:
                    view = partial(as_matrices, axis=layout.axis, num_matrices=layout.num_matrices)
                _check_tensor_fits(tensors, layout.tensor, view, (layout.num_matrices, hidden_size))
        for norm in edit.norms:
            if norm.tensor is not None:
                _check_tensor_fits(tensors, norm.tensor, partial(as_vectors, axis=0), (1, hidden_size))


class _Part(NamedTuple):
    """What an edit changes: the tensors that hold the weight or a bias, and the norms between it and the stream."""

    stored: Sequence[StoredLayout]
    norms: Sequence[Norm]
    bias: bool


def _parts(edit: Edit) -> list[_Part]:
    biases = [_Part(placed.layout.stored, placed.norms, True) for placed in biases_of(edit)]
    return [_Part(edit.matrix.stored, edit.norms, False), *biases]


def _check_tensor_fits(
    tensors: Mapping[str, StoredTensor], name: str, view: Callable[[Tensor], Tensor], expected: tuple[int, int]
) -> None:
    """Check one tensor; `view` gives it as (number of matrices or vectors, hidden size, …)."""
    if name not in tensors:
        raise UnwriteError(f"{RECIPE} names {name}, which the checkpoint does not have. {_REMEDY}")
    torch_dtype(tensors[name])
    shape = tensors[name].shape
    with as_user_error(name, _REMEDY):
        actual = view(torch.empty(shape, device="meta")).shape[:2]
    if actual != expected:
        raise UnwriteError(
            f"{name} has shape {list(shape)}, but {RECIPE} needs {expected[0]} × hidden size {expected[1]}. {_REMEDY}"
        )


_REMEDY = "Use the base model that the recipe was made for."
