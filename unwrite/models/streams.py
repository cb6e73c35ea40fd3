"""The residual streams of a model: one, or several side by side (hyper-connections), of which the mean is the residual.

With S streams X [S, d] of a token, a layer with a branch y [d] computes X′ = M X + m yᵀ (Zhu et al. 2024,
*Hyper-Connections*). M [S, S] and m [S] are numbers that depend on the token, so along a direction v

    X′ v = M (X v) + m (v·y):

where no branch writes along v, no stream gains anything along v, and neither does a mix of streams that a branch reads.
So the edit of each writer is that of a model with one stream. The residual is the mean of the streams: at residual
index 0 that is the embedding, and where M keeps sums (the identity, or a doubly stochastic matrix), it changes only by
mean(m) y.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError


def text_config(model: nn.Module) -> Any:
    """Return the configuration of a model's text part; None if it has none."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def count_streams(model: nn.Module, shape: Sequence[int], tokens: Sequence[int]) -> int | None:
    """Count the streams that a layer gets: S for [batch, tokens, S, d] or [batch, tokens, S·d], 1 for one of any width.

    Args:
        model: the model, whose configuration has d.
        shape: that of the layer's input.
        tokens: [batch, tokens].

    Returns:
        S, or None for a shape in which the streams have another place.
    """
    width = getattr(text_config(model), "hidden_size", None)
    *outer, last = shape
    if outer == list(tokens):
        return last // width if type(width) is int and last > width and last % width == 0 else 1
    return outer[-1] if outer[:-1] == list(tokens) and last == width else None


class Streams:
    """Splits what layers pass on into streams; mutable: it knows the number of tokens in the pass that runs."""

    def __init__(self, model: nn.Module) -> None:
        """Know no pass yet.

        Args:
            model: the model.
        """
        self._model = model
        self._tokens: list[int] = []

    def note_tokens(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the shape [batch, tokens] of what a module around the layers is called with: a hook before its pass."""
        named = (kwargs.get(key) for key in ("input_ids", "inputs_embeds"))
        tensors = [value for value in (*named, *args) if isinstance(value, Tensor)]
        self._tokens = list(tensors[0].shape[:2]) if tensors else self._tokens

    def split(self, stream: Tensor) -> Tensor:
        """Return a view [batch, tokens, S, d] of what a layer passes on.

        Raises:
            UnwriteError: the streams have another place in its shape.
        """
        tokens = self._tokens if stream.dim() == 4 else stream.shape[:2]
        count = count_streams(self._model, stream.shape, tokens)
        if count is None:
            raise UnwriteError(
                f"{type(self._model).__name__} keeps several streams (shape {list(stream.shape)}) in another form than "
                "[batch, tokens, streams, hidden size]. Use another model."
            )
        return stream if stream.dim() == 4 else stream.view(*stream.shape[:2], count, -1)


def mean_of_streams(split: Tensor) -> Tensor:
    """Return the residual of each token: the mean of its streams.

    Args:
        split: the streams, [..., S, d].

    Returns:
        [..., d] in the same dtype; the stream itself, bit for bit, if it is the only one.
    """
    if split.shape[-2] == 1:
        return split.squeeze(-2)
    return split.to(torch.promote_types(split.dtype, torch.float32)).mean(-2).to(split.dtype)


@contextmanager
def followed_streams(model: nn.Module, layer: nn.Module) -> Iterator[Streams]:
    """While open, follow how many tokens run, so that what layers pass on can be split into streams.

    Args:
        model: the model.
        layer: one of its decoder layers; a module around it is called with `input_ids` or `inputs_embeds`.
    """
    streams = Streams(model)
    path = next(name for name, module in model.named_modules() if module is layer).split(".")
    with ExitStack() as hooks:
        for length in range(len(path)):
            around = model.get_submodule(".".join(path[:length]))
            hooks.enter_context(around.register_forward_pre_hook(streams.note_tokens, with_kwargs=True))
        yield streams
