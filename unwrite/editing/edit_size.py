"""The size of an edit, tensor by tensor: ‖W‖ and ‖ΔW‖, added up from the blocks that merging writes anyway."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch

from unwrite.core.reproducible import stable_sum
from unwrite.files.safetensors import DTYPES, StoredTensor


class EditSize(NamedTuple):
    """The size of one tensor's edit, in Frobenius norms.

    Attributes:
        tensor: the name of the tensor in the checkpoint.
        norm: ‖W‖ of the base's tensor.
        change: ‖ΔW‖, of the stored values: rounding to the stored dtype is part of it.
    """

    tensor: str
    norm: float
    change: float

    @property
    def relative(self) -> float:
        """‖ΔW‖ / ‖W‖; 0 for a tensor of zeros that stays one."""
        return self.change / self.norm if self.norm else 0.0


class EditSizes:
    """Adds up squares while a checkpoint is written; each tensor is written by one thread, so no lock is needed."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        """Start at nothing.

        Args:
            tensors: the base's tensors, by name.
        """
        self._tensors = tensors
        self._squares: dict[str, tuple[float, float]] = {}

    def add(self, tensor: str, base: bytes, edited: bytes) -> None:
        """Add one block of an edited tensor.

        Args:
            tensor: its name.
            base: the base's bytes.
            edited: the bytes after the edit.
        """
        before, change = block_squares(base, edited, DTYPES[self._tensors[tensor].dtype])
        known, changed = self._squares.get(tensor, (0.0, 0.0))
        self._squares[tensor] = (known + before, changed + change)

    def sizes(self) -> list[EditSize]:
        """Return the size of every edited tensor, in the order of the checkpoint."""
        return [EditSize(name, *map(math.sqrt, self._squares[name])) for name in self._tensors if name in self._squares]


def block_squares(base: bytes, edited: bytes, dtype: torch.dtype) -> tuple[float, float]:
    """Return ‖W‖² and ‖ΔW‖² of one block, the same on every machine.

    Args:
        base: the base's bytes.
        edited: the bytes after the edit, as many.
        dtype: the floating dtype of both.
    """
    wide = torch.promote_types(dtype, torch.float32)
    before, change = (torch.frombuffer(bytearray(data), dtype=dtype).to(wide) for data in (base, edited))
    change -= before
    return float(stable_sum(before.square(), 0)), float(stable_sum(change.square_(), 0))
