"""What a recipe makes of a checkpoint's tensors, computed from the base's bytes, a few rows at a time.

Merging writes it, verifying compares it with a release: both take it from here. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.edit import edited_blocks
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.core.reproducible import GROUP_ROWS
from unwrite.editing.exact import applied_direction, edit_matrices, edit_vectors
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import (
    ByteRange,
    StoredTensor,
    byte_blocks,
    cut,
    read_rows,
    read_span,
    row_blocks,
    spans,
    torch_dtype,
)
from unwrite.schema.artifacts import Edit, Recipe, StoredLayout
from unwrite.schema.paths import RECIPE
from unwrite.terms import NormPreservation

_NUMBERS = 1 << 18  # read at a time, or what is summed at a time if that is more


class TensorChange(NamedTuple):
    """What is done to one stored tensor."""

    place: StoredLayout
    """How its matrices, or vectors, lie in it."""
    strength: float
    """λ."""
    direction: Tensor
    """What is projected out, [d], float64: a unit vector, through the norms that follow the writer; or zero."""
    norm_preservation: NormPreservation
    """What of each matrix's norms is kept."""
    bias: bool
    """Whether it holds biases [d] instead of matrices [d, k]."""


def changes_of(
    recipe: Recipe, tensors: Mapping[str, StoredTensor], directions: Mapping[str, Tensor]
) -> dict[str, TensorChange]:
    """What is done to each tensor that a recipe names, by the tensor's name.

    Args:
        recipe: Which `refuse_misfits` let pass.
        tensors: The base's, by name; the weights of the norms that follow a writer are read from them.
        directions: As directions.safetensors has them: `directions` and `baseline_mean`, each [P, L+1, d].

    Raises:
        UnwriteError: The recipe names a tensor twice, or a direction that there is none of.
    """
    changes: dict[str, TensorChange] = {}
    for edit in recipe.edits:
        norms = read_norms(tensors, edit)
        direction = applied_direction(edit, directions["directions"], directions["baseline_mean"], norms)
        for layout in (edit.matrix, edit.bias):
            for place in layout.stored if layout is not None else []:
                if place.tensor in changes:
                    raise UnwriteError(f"{RECIPE} edits {place.tensor} twice.")
                bias = layout is edit.bias
                changes[place.tensor] = TensorChange(
                    place, edit.strength, direction, recipe.settings.norm_preservation, bias
                )
    return changes


def read_norms(tensors: Mapping[str, StoredTensor], edit: Edit) -> dict[str, Tensor]:
    """The weight of each norm that an edit names, by the norm's parameter."""
    return {
        norm.parameter: _read(tensors[norm.tensor])
        for norm in edit.norms
        if norm.parameter is not None and norm.tensor is not None
    }


def refuse_misfits(tensors: Mapping[str, StoredTensor], recipe: Recipe, hidden_size: int) -> None:
    """Holds a recipe against a checkpoint, by the checkpoint's headers alone.

    Raises:
        UnwriteError: The checkpoint lacks a tensor of the recipe, or has it in another shape, or not as floating point.
    """
    for edit in recipe.edits:
        for place in edit.matrix.stored:
            matrices = partial(as_matrices, axis=place.axis, num_matrices=place.num_matrices)
            _refuse_misfit(tensors, place.tensor, matrices, place.num_matrices, hidden_size)
        for place in edit.bias.stored if edit.bias is not None else []:
            vectors = partial(as_vectors, axis=place.axis)
            _refuse_misfit(tensors, place.tensor, vectors, place.num_matrices, hidden_size)
        for norm in edit.norms:
            if norm.tensor is not None:
                _refuse_misfit(tensors, norm.tensor, partial(as_vectors, axis=0), 1, hidden_size)


def _refuse_misfit(
    tensors: Mapping[str, StoredTensor],
    name: str,
    view: Callable[[Tensor], Tensor],
    num_matrices: int,
    hidden_size: int,
) -> None:
    if name not in tensors:
        raise UnwriteError(f"{RECIPE} names {name}, which the checkpoint doesn't have.")
    torch_dtype(tensors[name])
    shape = tensors[name].shape
    try:
        came = view(torch.empty(shape, device="meta")).shape[:2]
    except UnwriteError as error:
        raise UnwriteError(f"{name}: {error}.") from None
    if came != (num_matrices, hidden_size):
        raise UnwriteError(
            f"{name} has shape {list(shape)}; {RECIPE} takes it for {num_matrices} × hidden size {hidden_size}."
        )


def matrix_parts(tensor: StoredTensor, place: StoredLayout) -> list[tuple[StoredTensor, int, int]]:
    """A stored tensor as what can be read by itself: one matrix each, or all that lie side by side ([d, G, k]).

    Args:
        tensor: The checkpoint's.
        place: How its matrices lie in it.

    Returns:
        (part, its hidden axis, how many matrices it holds), in order.

    Raises:
        UnwriteError: It can't be cut so.
    """
    axes = len(tensor.shape)
    if place.axis == 0 and (place.num_matrices, axes) != (1, 2):
        return [(tensor, place.axis, place.num_matrices)]
    axis = 0 if place.axis == axes - 2 else 1
    return [(part, axis, 1) for part in cut(tensor, place.num_matrices)]


def changed_blocks(tensor: StoredTensor, change: TensorChange) -> Iterator[tuple[int, Tensor]]:
    """What a change makes of a tensor, in float64, rounded once at the end.

    Matrices with the hidden axis first are read a few rows at a time, others whole, one by one; only where a tensor has
    its matrices side by side ([d, G, k]) is all of it read.

    Args:
        tensor: The base's.
        change: What is done to it.

    Yields:
        (bytes from the tensor's beginning, the values there, contiguous and in the stored dtype), in order, without
        gaps, from the tensor's first byte to its last.

    Raises:
        UnwriteError: As `edited_blocks`.
    """
    if change.bias:
        values = _read(tensor)
        edit_vectors(as_vectors(values, change.place.axis), change.direction, change.strength)
        yield 0, values
        return
    edit = (change.direction, change.strength, change.norm_preservation)
    for part, axis, num_matrices in matrix_parts(tensor, change.place):
        offset = part.offset - tensor.offset
        if (axis, num_matrices, len(part.shape)) == (0, 1, 2):
            for _, block in edited_blocks(partial(_blocks, part), *edit):
                yield offset, block
                offset += block.nbytes
        else:
            values = _read(part)
            edit_matrices(as_matrices(values, axis, num_matrices), *edit)
            yield offset, values


def merged_spans(
    file: Path, tensors: Mapping[str, StoredTensor], changes: Mapping[str, TensorChange]
) -> Iterator[tuple[ByteRange, Iterator[tuple[bytes, bytes]]]]:
    """One file of a checkpoint, from its first byte to its last, as it is and as a recipe makes it.

    Args:
        file: The base's; one that holds no tensors is what it is.
        tensors: The base's, by name; those of other files are left out.
        changes: What is done to them, by name.

    Yields:
        (span, blocks) in order: a tensor, or the header before them; blocks are its (base's bytes, release's bytes), in
        order, of equal lengths, the same object where nothing changes.

    Raises:
        UnwriteError: The file ended early, or as `changed_blocks`.
    """
    for span in spans(file, tensors):
        change = changes.get(span.tensor or "")
        yield span, _unchanged(span) if change is None else _changed(span, tensors[span.tensor or ""], change)


def _unchanged(span: ByteRange) -> Iterator[tuple[bytes, bytes]]:
    for block in read_span(span):
        yield block, block


def _changed(span: ByteRange, tensor: StoredTensor, change: TensorChange) -> Iterator[tuple[bytes, bytes]]:
    for offset, values in changed_blocks(tensor, change):
        start = span.start + offset
        yield from zip(
            read_span(span._replace(start=start, stop=start + values.nbytes)), byte_blocks(values), strict=True
        )


def _read(tensor: StoredTensor) -> Tensor:
    return read_rows(tensor, slice(0, tensor.shape[0]))


def _blocks(tensor: StoredTensor) -> Iterator[tuple[slice, Tensor]]:
    for rows in row_blocks(tensor.shape, _NUMBERS, GROUP_ROWS):
        yield rows, read_rows(tensor, rows)
