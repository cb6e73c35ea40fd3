"""An edit in memory: parameters exchanged for edited ones, and the old ones put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def replaced_parameters(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """While open, the named parameters hold `values`, in their dtype; afterwards the very tensors of before."""
    originals = {name: model.get_parameter(name).data for name in values}
    try:
        for name, value in values.items():
            original = originals[name]
            model.get_parameter(name).data = value.to(dtype=original.dtype, device=original.device)
        yield
    finally:
        for name, original in originals.items():
            model.get_parameter(name).data = original


def parameters_of(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """The named parameters' values: not copies, except from Apple's GPU, which has no float64 to edit them in."""
    values = {name: model.get_parameter(name).data for name in names}
    return {name: value.cpu() if value.device.type == "mps" else value for name, value in values.items()}
