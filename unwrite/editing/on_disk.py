"""The edited bytes of a checkpoint's tensors, computed from the base's bytes a few rows at a time.

Merging writes them and verifying compares them with a release. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from unwrite.core.edit import edited_blocks
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.core.reproducible import GROUP_ROWS
from unwrite.editing.changes import TensorChange
from unwrite.editing.exact import edit_matrices, edit_vectors, naming_in_errors
from unwrite.files.safetensors import (
    ByteRange,
    StoredTensor,
    byte_blocks,
    read_rows,
    read_span,
    read_tensor,
    row_blocks,
    spans,
    split_tensor,
)
from unwrite.schema.artifacts import StoredLayout

_NUMBERS = 1 << 18  # numbers read at a time, or one group of rows if that is more


class ReadablePart(NamedTuple):
    """A part of a stored tensor that can be read by itself: its hidden axis, and the number of matrices in it."""

    tensor: StoredTensor
    axis: int
    num_matrices: int


def merged_spans(
    file: Path, tensors: Mapping[str, StoredTensor], changes: Mapping[str, TensorChange]
) -> Iterator[tuple[ByteRange, Iterator[tuple[bytes, bytes]]]]:
    """Yield one file of a checkpoint from its first byte to its last, as it is and as a recipe edits it.

    Args:
        file: a file of the base; a file that holds no tensors stays as it is.
        tensors: the base's tensors, by name; those of other files are ignored.
        changes: the changes of tensors, by name.

    Yields:
        (span, blocks) in order. A span is one tensor, or the header before the tensors. Its blocks are (bytes of the
        base, bytes of the release), in order and of equal lengths, and the same object where nothing changes.

    Raises:
        UnwriteError: the file ended early, or as in `changed_blocks`.
    """
    for span in spans(file, tensors):
        if span.tensor is not None and span.tensor in changes:
            yield span, _changed_bytes(span, tensors[span.tensor], changes[span.tensor])
        else:
            yield span, _unchanged_bytes(span)


def _unchanged_bytes(span: ByteRange) -> Iterator[tuple[bytes, bytes]]:
    for block in read_span(span):
        yield block, block


def _changed_bytes(span: ByteRange, tensor: StoredTensor, change: TensorChange) -> Iterator[tuple[bytes, bytes]]:
    for offset, values in changed_blocks(tensor, change):
        start = span.start + offset
        base_bytes = read_span(span._replace(start=start, stop=start + values.nbytes))
        yield from zip(base_bytes, byte_blocks(values), strict=True)


def changed_blocks(tensor: StoredTensor, change: TensorChange) -> Iterator[tuple[int, Tensor]]:
    """Compute the edited values of a stored tensor, in float64, rounded once at the end.

    Args:
        tensor: a tensor of the base.
        change: its change.

    Yields:
        (bytes from the tensor's beginning, the values there, contiguous and in the stored dtype), in order and without
        gaps, from the tensor's first byte to its last.

    Raises:
        UnwriteError: the tensor holds NaN, or an edited value is beyond the range of its dtype.
    """
    with naming_in_errors(change.layout.tensor):
        yield from _changed_blocks(tensor, change)


def _changed_blocks(tensor: StoredTensor, change: TensorChange) -> Iterator[tuple[int, Tensor]]:
    if change.bias:
        yield 0, edited_biases(tensor, change)
        return
    for part in matrix_parts(tensor, change.layout):
        offset = part.tensor.offset - tensor.offset
        for values in _edited_part(part, change):
            yield offset, values
            offset += values.nbytes


def edited_biases(tensor: StoredTensor, change: TensorChange) -> Tensor:
    """Read a stored bias [d], or the biases of experts, and return the edited values in the same shape and dtype."""
    values = read_tensor(tensor)
    edit_vectors(as_vectors(values, change.layout.axis), change.direction, change.strength)
    return values


def matrix_parts(tensor: StoredTensor, layout: StoredLayout) -> list[ReadablePart]:
    """Split a stored tensor into parts that can be read one by one.

    Args:
        tensor: a tensor of the checkpoint.
        layout: the layout of its matrices.

    Returns:
        One matrix per part, in order; or one part, if all matrices lie side by side ([d, G, k]).

    Raises:
        UnwriteError: the tensor cannot be split into that many matrices.
    """
    axes = len(tensor.shape)
    if layout.axis == 0 and (layout.num_matrices, axes) != (1, 2):
        return [ReadablePart(tensor, layout.axis, layout.num_matrices)]
    axis = 0 if layout.axis == axes - 2 else 1
    return [ReadablePart(part, axis, 1) for part in split_tensor(tensor, layout.num_matrices)]


def _edited_part(part: ReadablePart, change: TensorChange) -> Iterator[Tensor]:
    """Yield the edited values of a part: a few rows at a time if the hidden axis comes first, otherwise as a whole."""
    edit = (change.direction, change.strength, change.norm_preservation)
    if (part.axis, part.num_matrices, len(part.tensor.shape)) == (0, 1, 2):
        for _, block in edited_blocks(partial(_blocks, part.tensor), *edit):
            yield block
        return
    values = read_tensor(part.tensor)
    edit_matrices(as_matrices(values, part.axis, part.num_matrices), *edit)
    yield values


def _blocks(tensor: StoredTensor) -> Iterator[tuple[slice, Tensor]]:
    for rows in row_blocks(tensor.shape, _NUMBERS, GROUP_ROWS):
        yield rows, read_rows(tensor, rows)
