"""Edits in memory: parameters exchanged, or module outputs patched by hooks, until the context closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.captured_layers import CalledLayer
from unwrite.models.layers import decoder_layers, entrances
from unwrite.models.streams import followed_streams

TensorMap = Callable[[Tensor], Tensor]
"""A function of a tensor that keeps its shape and dtype."""


class ModulePatch(NamedTuple):
    """The change of a module's input and output, both computed in float32 or wider."""

    scale: TensorMap | None
    """Applied to the input [..., k]; None leaves it alone."""
    edit: TensorMap
    """Applied to the output [..., d]."""


@contextmanager
def added_to_stream(model: nn.Module, direction: Tensor, layer: int, scale: float) -> Iterator[None]:
    """While open, add `scale` times a direction to the residual stream at the output of one layer, at every token.

    Of several streams, to each: their mean moves by as much. Of a layer that runs several times, to each output.

    This checks sufficiency: whether the direction alone causes the behaviour (Arditi et al. 2024, section 3.2).

    Args:
        model: a model whose decoder layers return a tensor, or a tuple or list that begins with one.
        direction: [d].
        layer: number of the decoder layer, from 0.
        scale: the factor; negative values subtract.

    Raises:
        ValueError: the model has no such layer, or the direction is not a vector.
        UnwriteError: the model has no decoder stack, or, during a pass, streams that cannot be split.

    Example:
        >>> model = load_model("demo/model")
        >>> direction = torch.nn.functional.normalize(torch.randn(128), dim=0)
        >>> with added_to_stream(model, direction, layer=2, scale=4.0):
        ...     changed = extract_residuals(model, [[5, 6, 7]])
        >>> added = (changed - extract_residuals(model, [[5, 6, 7]]))[0, 0, 3].float()
        >>> round(float(added @ direction), 1)
        4.0
    """
    layers = decoder_layers(model)
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer must be between 0 and {len(layers) - 1}, got {layer}")
    if direction.dim() != 1:
        raise ValueError(f"direction must have shape [d], got {list(direction.shape)}")
    shift = scale * direction

    def add(stream: Tensor) -> Tensor:
        return (streams.split(stream) + shift.to(stream)).reshape(stream.shape)

    with followed_streams(model, layers[layer]) as streams, layers[layer].register_forward_hook(_output_hook(add)):
        yield


@contextmanager
def mapped_stream(model: nn.Module, edit: TensorMap) -> Iterator[None]:
    """While open, apply a map to the residual stream at every residual index: the input of layer 0, every output.

    Where the stack is made of several lists, also to the input of each list.

    Args:
        model: as in `added_to_stream`.
        edit: receives the stream [batch, tokens, d] in float32 or wider; several streams as [batch, tokens · S, d].

    Raises:
        UnwriteError: the model has no decoder stack, or, during a pass, streams that cannot be split.
    """
    layers = decoder_layers(model)

    def checked(stream: Tensor) -> Tensor:
        return edit(streams.split(stream).flatten(1, 2)).reshape(stream.shape)

    def map_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        call = CalledLayer("", module, args, kwargs)
        stream = call.stream()
        mapped = call.with_stream(checked(_widened(stream)).to(stream.dtype))
        return mapped.args, mapped.kwargs

    with followed_streams(model, layers[0]) as streams, ExitStack() as hooks:
        for layer in entrances(model):
            hooks.enter_context(layer.register_forward_pre_hook(map_input, with_kwargs=True))
        for layer in dict.fromkeys(layers):
            hooks.enter_context(layer.register_forward_hook(_output_hook(checked)))
        yield


@contextmanager
def patched_modules(model: nn.Module, patches: Mapping[str, ModulePatch]) -> Iterator[None]:
    """While open, patch the input and output of each named module; no parameter is touched.

    A module may return a tensor, or a tuple or list that begins with the tensor to patch. No patched module may be
    inside another.

    Raises:
        UnwriteError: at the end, the model ran but did not call some of the modules, so they were not patched.
    """
    called: set[str] = set()
    with ExitStack() as hooks:
        for name, patch in patches.items():
            module = model.get_submodule(name)
            if patch.scale is not None:
                hooks.enter_context(module.register_forward_pre_hook(_input_hook(patch.scale)))
            hooks.enter_context(module.register_forward_hook(_output_hook(patch.edit)))
            hooks.enter_context(module.register_forward_hook(_recording_hook(name, called)))
        yield
    skipped = [name for name in patches if name not in called]
    if called and skipped:
        raise UnwriteError(
            f"The model computes without calling {skipped[0]} ({len(skipped)} such modules), so their outputs cannot "
            "be edited. Edit their weights instead."
        )


@contextmanager
def patched_parameters(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """While open, the named parameters hold `values`, in their dtype; afterwards they hold the same tensors as before.

    Raises:
        UnwriteError: a parameter is quantized or offloaded.
    """
    originals = {name: model.get_parameter(name).data for name in values}
    for name, original in originals.items():
        if original.is_meta:
            raise UnwriteError(
                f"The edit has to change the weight {name}, which is offloaded. Set runtime.backend to activations, or "
                "give the model more memory (runtime.max_memory)."
            )
        if not original.is_floating_point():
            raise UnwriteError(
                f"The edit has to change the weight {name}, which is quantized. Set model.quantization to none, or "
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


def is_matrix_product(module: nn.Module) -> bool:
    """Return whether a module computes y = Wx + b and nothing else: a linear layer, or the transposed one of GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def _input_hook(scale: TensorMap) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def patch_input(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (scale(_widened(args[0])).to(args[0].dtype), *args[1:])

    return patch_input


def _output_hook(edit: TensorMap) -> Callable[[nn.Module, Any, Any], Any]:
    def patch_output(_module: nn.Module, _args: Any, output: Any) -> Any:
        first: Tensor = output if isinstance(output, Tensor) else output[0]
        patched = edit(_widened(first)).to(first.dtype)
        return patched if isinstance(output, Tensor) else type(output)((patched, *output[1:]))

    return patch_output


def _recording_hook(name: str, called: set[str]) -> Callable[[nn.Module, Any, Any], None]:
    def record_call(_module: nn.Module, _args: Any, _output: Any) -> None:
        called.add(name)

    return record_call


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
