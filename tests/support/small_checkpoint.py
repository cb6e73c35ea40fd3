"""A checkpoint of a few small tensors in the working directory, and directions that fit it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from unwrite.files.checkpoints import stored_tensors
from unwrite.files.safetensors import StoredTensor

DIRECTIONS = {
    name: torch.nn.functional.normalize(torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)
    for seed, name in enumerate(("directions", "baseline_mean"))
}


def saved(tensors: dict[str, Tensor]) -> dict[str, StoredTensor]:
    """Save tensors as model.safetensors and return them as they are stored."""
    save_file(tensors, "model.safetensors")
    return stored_tensors(Path())


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Return the same random tensor on every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
