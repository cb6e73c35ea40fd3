"""The decoder stack, and its layers one at a time: each with what it was called with, so that it can be run alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError, reason_of


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder stack, in order.

    Raises:
        UnwriteError: The model has none that can be found.
    """
    get_decoder: Callable[[], nn.Module] | None = getattr(model, "get_decoder", None)
    decoder = get_decoder() if get_decoder else model
    for name in ("layers", "h", "blocks"):
        stack = getattr(decoder, name, None)
        if isinstance(stack, nn.ModuleList) and len(stack) > 0:
            return list(stack)
    raise UnwriteError(
        f"{type(model).__name__} has no decoder stack (layers, h or blocks). Expected a decoder-only model."
    )


def layer_output(output: Any) -> Tensor:
    """The stream a layer returns, whether alone or first of a tuple or list."""
    stream = output[0] if isinstance(output, (tuple, list)) else output
    assert isinstance(stream, Tensor)
    return stream


class CalledLayer(NamedTuple):
    """A decoder layer with the arguments of one call."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Tensor:
        """The stream after the layer, [batch, tokens, d]."""
        return layer_output(self.module(*self.args, **self.kwargs))

    def stream(self) -> Tensor:
        """The stream before the layer, [batch, tokens, d]."""
        stream = self.args[0] if self.args else self.kwargs["hidden_states"]
        assert isinstance(stream, Tensor)
        return stream

    def on(self, stream: Tensor) -> CalledLayer:
        """The same call with another stream before the layer."""
        if self.args:
            return self._replace(args=(stream, *self.args[1:]))
        return self._replace(kwargs={**self.kwargs, "hidden_states": stream})


def capture_layers(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[CalledLayer]:
    """Every layer with what it was called with when the model ran on `inputs`.

    Raises:
        UnwriteError: The model has no decoder stack, doesn't run, doesn't run each layer once and in order, or what
            leaves one layer is not what enters the next: something else writes the stream in between.
    """
    architecture = type(model).__name__
    stack = decoder_layers(model)
    names = {module: name for name, module in model.named_modules()}
    captured: list[CalledLayer] = []
    outputs: list[Tensor] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        captured.append(CalledLayer(names[module], module, args, kwargs))

    def after(_module: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(layer_output(output).clone())

    with ExitStack() as hooks:
        for layer in dict.fromkeys(stack):
            hooks.enter_context(layer.register_forward_pre_hook(before, with_kwargs=True))
            hooks.enter_context(layer.register_forward_hook(after))
        run_model(model, inputs)
    if [layer.module for layer in captured] != stack:
        raise UnwriteError(
            f"{architecture} doesn't run each of its {len(stack)} layers once, in order: {len(captured)} ran. "
            "Such models are not supported yet (README, Limits); nothing is edited in part."
        )
    for index, (output, following) in enumerate(zip(outputs, captured[1:], strict=False)):
        if not torch.equal(output, following.stream()):
            raise UnwriteError(
                f"{architecture}: something writes the stream between layers {index} and {index + 1}. "
                "Such models are not supported yet (README, Limits); nothing is edited in part."
            )
    return captured


def run_model(model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Runs a model for what its hooks see.

    Raises:
        UnwriteError: It doesn't run on text alone.
    """
    try:
        model(**inputs, use_cache=False)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UnwriteError(
            f"The miniature of {type(model).__name__} doesn't run on text alone ({reason_of(error)}). "
            "Such models are not supported yet (README, Limits); nothing is edited in part."
        ) from error
