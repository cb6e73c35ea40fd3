"""A checkpoint edited in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unwrite.editing.changes import TensorChange, changes_of
from unwrite.editing.on_disk import changed_blocks
from unwrite.files.checkpoints import stored_tensors
from unwrite.files.safetensors import StoredTensor, torch_dtype
from unwrite.schema.artifacts import Recipe


def edit_on_disk(folder: Path, recipe: Recipe, directions: Mapping[str, Tensor]) -> None:
    """Overwrite every tensor of the checkpoint in `folder` that a recipe edits."""
    tensors = stored_tensors(folder)
    for name, change in changes_of(recipe, tensors, directions).items():
        overwrite(tensors[name], change)


def overwrite(tensor: StoredTensor, change: TensorChange) -> None:
    """Overwrite a stored tensor with its edited values."""
    blocks = list(changed_blocks(tensor, change))
    with tensor.file.open("r+b") as stream:
        for offset, values in blocks:
            stream.seek(tensor.offset + offset)
            stream.write(values.view(torch.uint8).numpy().tobytes())


def write_rows(tensor: StoredTensor, rows: slice, values: Tensor) -> None:
    """Overwrite rows of a stored tensor."""
    width = math.prod(tensor.shape[1:]) * torch_dtype(tensor).itemsize
    assert (values.shape, values.dtype) == ((rows.stop - rows.start, *tensor.shape[1:]), torch_dtype(tensor))
    with tensor.file.open("r+b") as stream:
        stream.seek(tensor.offset + rows.start * width)
        stream.write(values.contiguous().view(torch.uint8).numpy().tobytes())
