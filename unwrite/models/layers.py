"""The decoder stack of a model: its layers, what they are called with, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Size, Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.streams import text_config


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the decoder stack, in order: the list of modules in the decoder that fits the model's configuration.

    It fits with as many items as the configuration has layers, as wide as its stream: a narrow miniature may still have
    a wide encoder. Of several that fit, or if none does, the one with most parameters is taken. Where none fits because
    the layers of several equal lists run in turn, one pass through all of these is the stack.

    Raises:
        UnwriteError: the model has none.
    """
    get_decoder: Callable[[], nn.Module] | None = getattr(model, "get_decoder", None)
    stacks = (_stacks(get_decoder()) if get_decoder else []) or _stacks(model)
    if not stacks:
        raise UnwriteError(f"{type(model).__name__} has no decoder stack. Use a decoder-only model.")
    outermost = _outermost(stacks)
    fitting = [stack for stack in outermost if _fits_config(model, stack)]
    if not fitting and len(outermost) > 1 and len({_kind(stack) for stack in outermost}) == 1:
        return [layer for stack in outermost for layer in stack]
    return max(fitting or stacks, key=lambda stack: sum(p.numel() for layer in stack for p in layer.parameters()))


def entrances(model: nn.Module) -> list[nn.Module]:
    """Return the layers that begin a list of the decoder stack: what they get need not be a layer's output.

    Raises:
        UnwriteError: the model has no decoder stack.
    """
    layers = decoder_layers(model)
    first = [stack[0] for stack in _stacks(model)]
    return [layer for layer in dict.fromkeys(layers) if layer in first]


def decoder_body(model: nn.Module) -> nn.Module:
    """Return the smallest module around all layers: the decoder itself, without an output head or a vision tower."""
    layers = set(decoder_layers(model))
    around = [m for m in model.modules() if not isinstance(m, nn.ModuleList) and layers < {*m.modules()} - {m}]
    return min(around or [model], key=lambda module: sum(1 for _ in module.modules()))


def layer_output(output: Any) -> Tensor:
    """Return the stream that a layer returned, alone or as the first item of a tuple, list or record."""
    stream = output if isinstance(output, Tensor) else output[0]
    assert isinstance(stream, Tensor)
    return stream


def stream_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the stream that a layer is called with: its first floating-point tensor.

    Raises:
        UnwriteError: no argument is a floating-point tensor.
    """
    key = stream_key(args, kwargs)
    stream = args[key] if isinstance(key, int) else kwargs[key]
    assert isinstance(stream, Tensor)
    return stream


def stream_key(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | str:
    """Return the place of the stream in a layer's arguments: a number of `args` or a name of `kwargs`.

    Raises:
        UnwriteError: no argument is a floating-point tensor.
    """
    arguments: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for key, value in arguments:
        if isinstance(value, Tensor) and value.is_floating_point():
            return key
    raise UnwriteError("A decoder layer is called without a floating-point tensor, so its stream cannot be found.")


def _stacks(module: nn.Module) -> list[list[nn.Module]]:
    return [list(stack) for stack in module.modules() if isinstance(stack, nn.ModuleList) and len(stack) > 0]


def _outermost(stacks: list[list[nn.Module]]) -> list[list[nn.Module]]:
    """Keep the stacks that are in no other one: a layer may hold a list of experts."""
    inside = {inner for stack in stacks for layer in stack for inner in layer.modules() if inner is not layer}
    return [stack for stack in stacks if not inside.intersection(stack)]


def _fits_config(model: nn.Module, stack: list[nn.Module]) -> bool:
    config = text_config(model)
    layers, width = (getattr(config, key, None) for key in ("num_hidden_layers", "hidden_size"))
    shapes = [parameter.shape for layer in stack for parameter in layer.parameters()]
    return len(stack) == layers and any(width in shape for shape in shapes)


def _kind(stack: list[nn.Module]) -> tuple[tuple[str, Size], ...]:
    """Return the names and shapes of all parameters of a stack."""
    return tuple((name, parameter.shape) for name, parameter in nn.ModuleList(stack).named_parameters())
