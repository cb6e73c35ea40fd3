"""An edit in memory: parameters exchanged, or what modules put out changed on the way, and all put back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError


class ModulePatch(NamedTuple):
    """What changes in a module: its input by `scale` (None: left alone), its output by `edit`.

    Both take a tensor of float32 or wider, [..., k] and [..., d], to another of the same shape and dtype.
    """

    scale: Callable[[Tensor], Tensor] | None
    edit: Callable[[Tensor], Tensor]


@contextmanager
def patched_parameters(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """While open, the named parameters hold `values`, in their dtype; afterwards the very tensors of before.

    Raises:
        UnwriteError: A parameter is quantized.
    """
    originals = {name: model.get_parameter(name).data for name in values}
    for name, original in originals.items():
        if not original.is_floating_point():
            raise UnwriteError(
                f"The edit has to change the weight {name}, which is quantized: set model.quantization to none, or "
                "optimize.norm_preservation to none, so that activations can be edited instead."
            )
    try:
        for name, value in values.items():
            original = originals[name]
            model.get_parameter(name).data = value.to(dtype=original.dtype, device=original.device)
        yield
    finally:
        for name, original in originals.items():
            model.get_parameter(name).data = original


@contextmanager
def patched_modules(model: nn.Module, changes: Mapping[str, ModulePatch]) -> Iterator[None]:
    """While open, each named module computes with its change; no parameter is touched.

    A module may put out a tensor, or a tuple or list whose first item is the tensor that counts. None of the modules
    may be inside another of them.

    Raises:
        UnwriteError: At the end, if the model ran but some of the modules were passed by, so that they were not edited.
    """
    called: set[str] = set()
    with ExitStack() as hooks:
        for name, change in changes.items():
            module = model.get_submodule(name)
            if change.scale is not None:
                hooks.callback(module.register_forward_pre_hook(_input_hook(change.scale)).remove)
            hooks.callback(module.register_forward_hook(_output_hook(name, change.edit, called)).remove)
        yield
    passed_by = [name for name in changes if name not in called]
    if called and passed_by:
        raise UnwriteError(
            f"The model computes without calling {passed_by[0]} ({len(passed_by)} such modules), so what they put out "
            "can't be edited; edit their weights."
        )


def is_matrix_product(module: nn.Module) -> bool:
    """Whether a module computes y = Wx + b and nothing else: a linear layer, or the transposed one of GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def parameters_of(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """The named parameters' values: not copies, except from Apple's GPU, which has no float64 to edit them in."""
    values = {name: model.get_parameter(name).data for name in names}
    return {name: value.cpu() if value.device.type == "mps" else value for name, value in values.items()}


def _input_hook(scale: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def scaled(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (scale(_widened(args[0])).to(args[0].dtype), *args[1:])

    return scaled


def _output_hook(name: str, edit: Callable[[Tensor], Tensor], called: set[str]) -> Callable[[nn.Module, Any, Any], Any]:
    def edited(_module: nn.Module, _args: Any, output: Any) -> Any:
        called.add(name)
        first: Tensor = output if isinstance(output, Tensor) else output[0]
        changed = edit(_widened(first)).to(first.dtype)
        return changed if isinstance(output, Tensor) else type(output)((changed, *output[1:]))

    return edited


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
