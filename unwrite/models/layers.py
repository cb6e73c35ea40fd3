"""The decoder stack, and its layers one at a time: each with what it was called with, so that it can be run alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.batches import accepted

_RUN_ERRORS = (
    *(RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError),
    ArithmeticError,
)


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder stack, in order: of the decoder's lists of modules, the one that holds most of its parameters.

    Raises:
        UnwriteError: The model has none.
    """
    get_decoder: Callable[[], nn.Module] | None = getattr(model, "get_decoder", None)
    stacks = (_stacks(get_decoder()) if get_decoder else []) or _stacks(model)
    if not stacks:
        raise UnwriteError(f"{type(model).__name__} has no decoder stack. Expected a decoder-only model.")
    return max(stacks, key=lambda stack: sum(p.numel() for layer in stack for p in layer.parameters()))


def _stacks(module: nn.Module) -> list[list[nn.Module]]:
    return [list(stack) for stack in module.modules() if isinstance(stack, nn.ModuleList) and len(stack) > 0]


def around_layers(model: nn.Module) -> nn.Module:
    """The smallest module around all of the layers: the decoder itself, without an output head or a vision tower."""
    layers = set(decoder_layers(model))
    around = [m for m in model.modules() if not isinstance(m, nn.ModuleList) and layers < {*m.modules()} - {m}]
    return min(around or [model], key=lambda module: sum(1 for _ in module.modules()))


def layer_output(output: Any) -> Tensor:
    """The stream a layer returns, whether alone or first of a tuple, list or record."""
    stream = output if isinstance(output, Tensor) else output[0]
    assert isinstance(stream, Tensor)
    return stream


def stream_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The stream a layer is called with: its first floating-point tensor.

    Raises:
        UnwriteError: It is called with none.
    """
    key = _stream_key(args, kwargs)
    stream = args[key] if isinstance(key, int) else kwargs[key]
    assert isinstance(stream, Tensor)
    return stream


def _stream_key(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | str:
    arguments: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for key, value in arguments:
        if isinstance(value, Tensor) and value.is_floating_point():
            return key
    raise UnwriteError("A decoder layer is called without a tensor: where its stream enters is unknown.")


class CalledLayer(NamedTuple):
    """A decoder layer with the arguments of one call."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Tensor:
        """The stream after the layer, [batch, tokens, d]."""
        again = self.on(self.stream().clone())  # some layers write into what they are given
        return layer_output(self.module(*again.args, **again.kwargs)).clone()

    def stream(self) -> Tensor:
        """The stream before the layer, [batch, tokens, d]."""
        return stream_argument(self.args, self.kwargs)

    def on(self, stream: Tensor) -> CalledLayer:
        """The same call with another stream before the layer."""
        key = _stream_key(self.args, self.kwargs)
        if isinstance(key, int):
            return self._replace(args=(*self.args[:key], stream, *self.args[key + 1 :]))
        return self._replace(kwargs={**self.kwargs, key: stream})


class CapturedLayers(NamedTuple):
    """Every layer of a run, what left each, and which modules ran after them and could write the stream; in order."""

    layers: list[CalledLayer]
    outputs: list[Tensor]
    after: list[str]


def capture_layers(model: nn.Module, inputs: Mapping[str, Tensor]) -> CapturedLayers:
    """Every layer with what it was called with when the model ran on `inputs`, and what it returned.

    Raises:
        UnwriteError: The model has no decoder stack, doesn't run, doesn't run each layer once and in order, or its
            stream isn't one vector a token.
    """
    stack = decoder_layers(model)
    names = {module: name for name, module in model.named_modules()}
    captured: list[CalledLayer] = []
    outputs: list[Tensor] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = CalledLayer(names[module], module, args, kwargs)
        captured.append(call.on(call.stream().clone()))

    def after(_module: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(layer_output(output).clone())

    late: list[str] = []

    def see(module: nn.Module, _args: Any, output: Any) -> None:
        # Matrices that put out as much as the stream holds; scales and norms only read it.
        matrices = any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
        if len(outputs) >= len(stack) and matrices and getattr(output, "shape", None) == outputs[-1].shape:
            late.append(names[module])

    inside = {module for layer in stack for module in layer.modules()}
    with ExitStack() as hooks:
        for layer in dict.fromkeys(stack):
            hooks.enter_context(layer.register_forward_pre_hook(before, with_kwargs=True))
            hooks.enter_context(layer.register_forward_hook(after))
        for module in around_layers(model).modules():
            if module not in inside:
                hooks.enter_context(module.register_forward_hook(see))
        run_model(model, inputs)
    if [layer.module for layer in captured] != stack:
        raise UnwriteError(
            f"{type(model).__name__} doesn't run each of its {len(stack)} layers once, in order: {len(captured)} ran. "
            "What writes its stream can't be told; nothing is edited in part."
        )
    expected = inputs["input_ids"].shape
    for index, call in enumerate(captured):
        if call.stream().shape[:-1] != expected:
            raise UnwriteError(
                f"{type(model).__name__}, layer {index}: its stream has shape {list(call.stream().shape)} for "
                f"{list(expected)} tokens. Expected one vector a token; nothing is edited in part."
            )
    return CapturedLayers(captured, outputs, late)


def run_model(model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Runs a model for what its hooks see.

    Raises:
        UnwriteError: It doesn't run on text alone.
    """
    try:
        model(**accepted(model, {**inputs, "use_cache": False}))
    except _RUN_ERRORS as error:
        raise UnwriteError(
            f"The miniature of {type(model).__name__} doesn't run on text alone ({reason_of(error)}). "
            "What writes its stream can't be told; nothing is edited in part."
        ) from error
