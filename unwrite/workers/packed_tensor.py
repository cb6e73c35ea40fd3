"""A tensor as a NumPy array of bytes, which Ray sends without a copy; tensors it would pickle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class PackedTensor(NamedTuple):
    """A tensor on the CPU, packed.

    data: its bytes, with the shape of the tensor but for the last axis, which is longer by the size of an element.
    dtype: its dtype, which NumPy may not have (bfloat16).
    """

    data: NDArray[np.uint8]
    dtype: torch.dtype


def pack(tensor: Tensor) -> PackedTensor:
    """Pack a tensor [..., k] on the CPU, without a copy if it is contiguous."""
    return PackedTensor(tensor.contiguous().view(torch.uint8).numpy(), tensor.dtype)


def unpack(packed: PackedTensor) -> Tensor:
    """Return the tensor that was packed, in memory of its own."""
    return torch.tensor(packed.data).view(packed.dtype)
