"""Weights a few rows at a time, hidden axis first, from memory or from the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

from torch import Tensor

from unwrite.core.edit import Blocks
from unwrite.core.layout import as_matrices
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import stored_tensors
from unwrite.files.safetensors import StoredTensor, read_rows, read_tensor, row_blocks
from unwrite.schema.artifacts import ParameterLayout, StoredLayout


def blocks_of_matrix(matrix: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield a matrix [d, k] a few rows at a time as (rows, block [rows, k]), so that float64 copies stay small."""
    for rows in row_blocks(matrix.shape):
        yield rows, matrix[rows]


def blocks_in_memory(parameters: Mapping[str, Tensor], layout: ParameterLayout) -> Blocks:
    """Return the blocks of a parameter that holds one matrix."""
    matrix = as_matrices(parameters[layout.parameter], layout.axis, layout.num_matrices)[0]
    return partial(blocks_of_matrix, matrix)


def blocks_on_disk(tensors: Mapping[str, StoredTensor], layout: ParameterLayout) -> Blocks:
    """Return the blocks of a checkpoint's tensor that holds one matrix.

    A few rows are read at a time if the hidden axis comes first, otherwise the whole tensor.

    Args:
        tensors: the checkpoint's tensors, by name.
        layout: a parameter with one matrix, stored in one tensor.

    Raises:
        UnwriteError: the checkpoint does not have the tensor.
    """
    (stored,) = layout.stored
    if stored.tensor not in tensors:
        raise UnwriteError(f"The checkpoint has no {stored.tensor}: run `dvc repro -f pin_model` and the later stages.")
    tensor = tensors[stored.tensor]
    if stored.axis == 0 and len(tensor.shape) == 2:
        return partial(_stored_rows, tensor)
    return partial(_stored_matrix, tensor, stored)


def blocks_of_model(parameters: Mapping[str, Tensor], folder: Path) -> Callable[[ParameterLayout], Blocks]:
    """Return a function that finds the blocks of a weight: in memory, or on disk if it is quantized or offloaded.

    Args:
        parameters: the model's parameters, by name.
        folder: the folder of the checkpoint; its headers are read when the first weight on disk is asked for.
    """
    stored_by_name = cache(partial(stored_tensors, folder))

    def blocks(layout: ParameterLayout) -> Blocks:
        parameter = parameters[layout.parameter]
        if parameter.is_floating_point() and not parameter.is_meta:
            return blocks_in_memory(parameters, layout)
        return blocks_on_disk(stored_by_name(), layout)

    return blocks


def _stored_rows(tensor: StoredTensor) -> Iterator[tuple[slice, Tensor]]:
    for rows in row_blocks(tensor.shape):
        yield rows, read_rows(tensor, rows)


def _stored_matrix(tensor: StoredTensor, stored: StoredLayout) -> Iterator[tuple[slice, Tensor]]:
    whole = read_tensor(tensor)
    return blocks_of_matrix(as_matrices(whole, stored.axis, stored.num_matrices)[0])
