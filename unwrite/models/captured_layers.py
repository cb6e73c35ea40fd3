"""Decoder layers one at a time: each with the arguments of its call, so that it can run alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor, nn

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.batches import accepted_inputs
from unwrite.models.layers import decoder_body, decoder_layers, layer_output, stream_argument, stream_key
from unwrite.models.streams import count_streams, text_config

_RUN_ERRORS = (
    *(RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError),
    ArithmeticError,
)
_REFUSED = "Cannot determine what writes the residual stream, so this model is refused."


class StructureError(UnwriteError):
    """How a model runs its layers is refused; no other width of the same architecture would change that."""


class CalledLayer(NamedTuple):
    """A decoder layer with the arguments of one call, and the number of residual streams that it gets."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    streams: int = 1

    def run(self) -> Tensor:
        """Run the layer and return what it passes on: the stream after it, [batch, tokens, d], or all streams."""
        copied = self.with_stream(self.stream().clone())  # some layers write into their arguments
        return layer_output(self.module(*copied.args, **copied.kwargs)).clone()

    def stream(self) -> Tensor:
        """Return what the layer gets: the stream before it, [batch, tokens, d], or all streams."""
        return stream_argument(self.args, self.kwargs)

    def width(self) -> int:
        """Return d."""
        batch, tokens = self.stream().shape[:2]
        return self.stream().numel() // (batch * tokens * self.streams)

    def rows(self) -> Tensor:
        """Return every stream before the layer, token by token: [batch · tokens · streams, d]."""
        return self.stream().reshape(-1, self.width())

    def with_rows(self, rows: Tensor) -> CalledLayer:
        """Return the same call with these streams before the layer, as `rows` gives them."""
        return self.with_stream(rows.reshape(self.stream().shape))

    def with_stream(self, stream: Tensor) -> CalledLayer:
        """Return the same call with this stream before the layer."""
        key = stream_key(self.args, self.kwargs)
        if isinstance(key, int):
            return self._replace(args=(*self.args[:key], stream, *self.args[key + 1 :]))
        return self._replace(kwargs={**self.kwargs, key: stream})


class CapturedLayers(NamedTuple):
    """The layers of one run, in order; of a stack that runs several times, in the last one."""

    layers: list[CalledLayer]
    outputs: list[Tensor]
    """The stream after each layer."""
    after: list[str]
    """Names of the modules that ran after all layers and could write the stream."""
    chained: bool
    """Whether each layer got what the one before it passed on, in every run."""


def capture_layers(model: nn.Module, inputs: Mapping[str, Tensor]) -> CapturedLayers:
    """Run the model and capture the call and the output of every layer, in its last run.

    Raises:
        UnwriteError: the model has no decoder stack, does not run, does not run each layer in order, or its stream is
            not one vector per token.
    """
    stack = decoder_layers(model)
    names = {module: name for name, module in model.named_modules()}
    calls: list[CalledLayer] = []
    outputs: list[Tensor] = []
    later: list[tuple[int, str]] = []  # with the number of runs of layers before it
    readers: list[str] = []
    tokens = inputs["input_ids"].shape
    one_stream = Size([*tokens, getattr(text_config(model), "hidden_size", 0)])

    def record_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = CalledLayer(names[module], module, args, kwargs)
        calls.append(call.with_stream(call.stream().clone()))

    def record_output(_module: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(layer_output(output).clone())

    def record_later_writer(module: nn.Module, _args: Any, output: Any) -> None:
        # Only matrices with an output as wide as the stream can write it; scales and norms only read it.
        if outputs and _has_matrix(module) and getattr(output, "shape", None) in (outputs[-1].shape, one_stream):
            later.append((len(outputs), names[module]))

    def record_reader(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        # What makes one stream of several reads them, as the norm behind it does; so does all that is in it.
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        several = len(outputs) == len(stack) and outputs[-1].shape != one_stream
        makes_one = getattr(output, "shape", None) == one_stream
        if several and makes_one and given and given[0].shape == outputs[-1].shape:
            readers.append(names[module])

    inside = {module for layer in stack for module in layer.modules()}
    with ExitStack() as hooks:
        for layer in dict.fromkeys(stack):
            hooks.enter_context(layer.register_forward_pre_hook(record_call, with_kwargs=True))
            hooks.enter_context(layer.register_forward_hook(record_output))
        for module in decoder_body(model).modules():
            if module not in inside:
                hooks.enter_context(module.register_forward_hook(record_later_writer))
                hooks.enter_context(module.register_forward_hook(record_reader, with_kwargs=True))
        run_model(model, inputs)
    last = calls[-len(stack) :]
    _refuse_other_orders(model, stack, [call.module for call in last])
    layers = [call._replace(streams=_count_streams(model, call, index, tokens)) for index, call in enumerate(last)]
    after = [name for runs, name in later if runs == len(outputs)]
    after = [name for name in after if not any(f"{name}.".startswith(f"{reader}.") for reader in readers)]
    chained = all(torch.equal(output, call.stream()) for output, call in zip(outputs, calls[1:], strict=False))
    return CapturedLayers(layers, outputs[-len(stack) :], after, chained)


def run_model(model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Run a model for its hooks.

    Raises:
        UnwriteError: the model does not run on text alone.
    """
    try:
        model(**accepted_inputs(model, {**inputs, "use_cache": False}))
    except _RUN_ERRORS as error:
        raise UnwriteError(
            f"The miniature of {type(model).__name__} does not run on text alone ({reason_of(error)}). {_REFUSED}"
        ) from error


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


def _refuse_other_orders(model: nn.Module, stack: list[nn.Module], ran: list[nn.Module]) -> None:
    if ran != stack:
        raise StructureError(
            f"{type(model).__name__} does not run each of its {len(stack)} layers, in order: {len(ran)} ran. {_REFUSED}"
        )


def _count_streams(model: nn.Module, call: CalledLayer, index: int, tokens: Size) -> int:
    """Count the streams that a layer gets.

    Raises:
        StructureError: it gets something else than streams with one vector per token.
    """
    shape = call.stream().shape
    streams = count_streams(model, shape, tokens)
    if streams is not None:
        return streams
    layer = f"{type(model).__name__}, layer {index}"
    several = [size for axis, size in enumerate(shape[:-1]) if [*shape[:axis], *shape[axis + 1 : -1]] == list(tokens)]
    if len(shape) > len(tokens) + 1 and several:
        raise StructureError(
            f"{layer}: the layers pass on {several[0]} streams in another form than [batch, tokens, streams, hidden "
            f"size] (shape {list(shape)} for {list(tokens)} tokens). {_REFUSED}"
        )
    raise StructureError(
        f"{layer}: the stream must be one vector per token, got shape {list(shape)} for {list(tokens)} tokens. "
        f"{_REFUSED}"
    )
