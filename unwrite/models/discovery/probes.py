"""Probe one decoder layer: record what its modules do, shift or fix their outputs, project their parameters.

Notation: d is the width of a stream; v [d] is the unit vector that probes add or remove; a *sink* is the place where
their effect is measured: the stream after the layer (None), or the input of a module in the layer (its name).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.models.captured_layers import CalledLayer
from unwrite.models.layers import stream_argument

SHIFT = 1e10  # K: too large to be mistaken for a bounded path, and small enough to leave six digits
TOLERANCE = 1e-5
EXACT = 1e-9  # relative: the most that an exact edit may leave of the direction


class UnprovableError(Exception):
    """Something in a layer cannot be edited exactly; the message states the reason."""


class Call(NamedTuple):
    """One call of a module, with its output as [tokens, d], or [tokens · streams, d] if it has one part per stream."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor


class RecordedLayer(NamedTuple):
    """A layer, the calls of its modules by name, and the direction v [d] to probe it with."""

    layer: CalledLayer
    calls: dict[str, Call]
    direction: Tensor

    def module(self, name: str) -> nn.Module:
        """Return the module of that name in the layer."""
        return self.layer.module.get_submodule(name)

    def label(self, name: str) -> str:
        """Return the module's name and type, for messages."""
        return f"{name} ({type(self.module(name)).__name__})"

    def has_parameters(self, name: str) -> bool:
        """Return whether the module, or one inside it, has parameters."""
        return any(True for _ in self.module(name).parameters())


def record_layer(layer: CalledLayer) -> RecordedLayer:
    """Run a layer and record the calls of its modules, as `record_calls` does."""
    return RecordedLayer(layer, record_calls(layer), probe_direction(layer))


def record_calls(layer: CalledLayer) -> dict[str, Call]:
    """Record the call of each module that runs exactly once and whose output is as large as one stream, or as all."""
    seen: dict[str, list[Call]] = {}
    width, size = layer.width(), layer.stream().numel() // layer.streams

    def recorder(name: str) -> Callable[..., None]:
        def record(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            widths, sizes = ({one, one * layer.streams} for one in (width, size))
            if tensor.dim() > 0 and tensor.shape[-1] in widths and tensor.numel() in sizes:
                call = Call(_cloned(args), _cloned(kwargs), tensor.clone().reshape(-1, width))
                seen.setdefault(name, []).append(call)

        return record

    with ExitStack() as hooks:
        for name, module in layer.module.named_modules():
            if name:
                hooks.enter_context(module.register_forward_hook(recorder(name), with_kwargs=True))
        layer.run()
    return {name: calls[0] for name, calls in seen.items() if len(calls) == 1}


def rerun(module: nn.Module, call: Call) -> Tensor:
    """Run a module with the arguments of a recorded call, and return its output as [tokens, d]."""
    return run_again(module, call).reshape(call.output.shape).clone()


def run_again(module: nn.Module, call: Call) -> Tensor:
    """Run a module with the arguments of a recorded call, and return the tensor it returns (or returns first)."""
    return first_tensor(module(*_cloned(call.args), **_cloned(call.kwargs)))


def run_to(layer: CalledLayer, sink: str | None) -> Tensor:
    """Run a layer and return what reaches the sink, [tokens, d]; of several streams after it, one row for each."""
    if sink is None:
        return layer.run().reshape(-1, layer.width())
    seen: list[Tensor] = []

    def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(stream_argument(args, kwargs).clone())

    with layer.module.get_submodule(sink).register_forward_pre_hook(record, with_kwargs=True):
        layer.run()
    return seen[0].reshape(-1, seen[0].shape[-1])


def multipliers_into(layer: CalledLayer, name: str, sink: str | None, base: Tensor, v: Tensor) -> Tensor | None:
    """Measure by what factor a module's output reaches the sink, by shifting that output by K·v.

    Args:
        layer: the layer that the module is in.
        name: the module.
        sink: the place where its effect is measured.
        base: what reaches the sink without the shift, [tokens, d].
        v: the direction of the shift, [d].

    Returns:
        multipliers m [tokens], or None where the module does not add straight into the sink.
    """
    with shifted(layer, name, v):
        moved = run_to(layer, sink)
    return shift_multipliers(moved - base, v)


def shift_multipliers(moved: Tensor, v: Tensor) -> Tensor | None:
    """Return the multipliers m [tokens] if a shift by K·v moved the sink by m·K·v, else None.

    Args:
        moved: the change caused by the shift, [tokens, d].
        v: the direction of the shift, [d].
    """
    m = moved @ v / SHIFT
    off_direction = float((moved / SHIFT - m[:, None] * v).norm(dim=-1).max())
    largest = float(m.abs().max())
    return m if largest > TOLERANCE and off_direction < TOLERANCE * max(1.0, largest) else None


@contextmanager
def shifted(layer: CalledLayer, name: str, v: Tensor) -> Iterator[None]:
    """Add K·v to a module's output while open."""

    def shift(_module: nn.Module, _args: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        return _with_first(output, (tensor.reshape(-1, len(v)) + SHIFT * v).reshape(tensor.shape))

    with layer.module.get_submodule(name).register_forward_hook(shift):
        yield


@contextmanager
def outputs_fixed(recorded: RecordedLayer, names: Sequence[str]) -> Iterator[None]:
    """Make the named modules return their recorded outputs while open."""
    with ExitStack() as hooks:
        for name in names:
            hooks.enter_context(recorded.module(name).register_forward_hook(_returning(recorded.calls[name].output)))
        yield


def _returning(recorded: Tensor) -> Callable[..., Any]:
    def hold(_module: nn.Module, _args: Any, output: Any) -> Any:
        return _with_first(output, recorded.clone().reshape(first_tensor(output).shape))

    return hold


@contextmanager
def projected(parameter: nn.Parameter, axis: int, v: Tensor) -> Iterator[None]:
    """Project v out of a parameter along one of its axes while open."""
    original = parameter.data
    along = torch.tensordot(v, original, dims=([0], [axis]))
    parameter.data = original - (v.reshape(-1, *[1] * along.dim()) * along).movedim(0, axis)
    try:
        yield
    finally:
        parameter.data = original


def probe_direction(layer: CalledLayer) -> Tensor:
    """Return a random unit vector of the stream's width, the same for every layer of that width."""
    width = layer.width()
    return nn.functional.normalize(torch.randn(width, generator=seeded(2), dtype=torch.float64), dim=0)


def seeded(seed: int) -> torch.Generator:
    """Return a generator of random numbers with that seed."""
    return torch.Generator().manual_seed(seed)


def first_tensor(output: Any) -> Tensor:
    """Return a module's output, or the first item of a tuple or list; an empty tensor if that is not a tensor."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else torch.empty(0)


def _with_first(output: Any, tensor: Tensor) -> Any:
    return tensor if isinstance(output, Tensor) else type(output)([tensor, *output[1:]])


def _cloned(value: Any) -> Any:
    """Copy the tensors in an argument, since some modules write into their arguments."""
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) in (tuple, list):
        return type(value)(map(_cloned, value))
    return {key: _cloned(entry) for key, entry in value.items()} if type(value) is dict else value
