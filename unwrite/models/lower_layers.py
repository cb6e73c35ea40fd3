"""Layers below the first edited one compute the same in every trial: their work is recorded once and given back.

A pass over the same rows begins at the stream that the base model had in front of the first edited layer. The layers
below it do nothing but fill the cache with the keys and values that they had then. The bits are the same as in a whole
pass, because they come from one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from unwrite.models.layers import decoder_layers, stream_argument

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_BYTES = 1 << 29
"""The most memory that a record may take."""


class _Record(NamedTuple):
    """One layer in one pass: the stream in front of it, [batch, tokens, d], and its new keys and values.

    They are empty if they are not needed, and None if the layer keeps something else.
    """

    stream: Tensor
    keys_values: list[Tensor] | None


class _Pass(NamedTuple):
    """One pass: the streams in front of some layers, by the number of the layer, and every layer's keys and values."""

    streams: dict[int, Tensor]
    keys_values: list[list[Tensor]]


class LowerLayers:
    """A record of the base model's passes, by their rows; mutable: `recording` adds to it."""

    def __init__(self, model: PreTrainedModel, *, is_continued: bool) -> None:
        """Begin an empty record.

        Args:
            model: the base model.
            is_continued: whether more tokens will be decoded behind the passes, so that they need keys and values.
        """
        self._layers = decoder_layers(model)
        self._is_continued = is_continued
        self._passes: dict[tuple[int, ...], _Pass] = {}
        self._free = MOST_BYTES

    @contextmanager
    def recording(self, rows: Sequence[int]) -> Iterator[None]:
        """Record the pass over some rows that runs while this is open, if it fits and its layers can be left out."""
        records: list[_Record] = []

        def record(number: int) -> Callable[..., None]:
            def hook(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
                if isinstance(output, Tensor):
                    stream = stream_argument(args, named)
                    records.append(_Record(stream, self._new_keys_values(named, number, stream.shape[1])))

            return hook

        with ExitStack() as hooks:
            for number, layer in enumerate(self._layers):
                hooks.enter_context(layer.register_forward_hook(record(number), with_kwargs=True))
            yield
        if len(records) == len(self._layers):
            self._keep(tuple(rows), records)

    @contextmanager
    def resuming(self, rows: Sequence[int], layer: int) -> Iterator[None]:
        """While open, a recorded pass over these rows begins at `layer` or the last recorded layer below it.

        Args:
            rows: row numbers of the pass.
            layer: number of the first layer that computes something else than the base model does.
        """
        recorded = self._passes.get(tuple(rows))
        first = max((number for number in recorded.streams if number <= layer), default=0) if recorded else 0
        if recorded is None or first == 0:
            yield
            return
        with ExitStack() as replaced:
            for number, module in enumerate(self._layers[:first]):
                forward = _giving_back(recorded.streams[first], number, recorded.keys_values[number])
                replaced.enter_context(_replaced_forward(module, forward))
            yield

    def _new_keys_values(self, named: dict[str, Any], number: int, tokens: int) -> list[Tensor] | None:
        """Return the keys and values that a layer has just added to its cache (`_Record`)."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        if not self._is_continued:
            return []
        cache = named.get("past_key_values")
        if type(cache) is not DynamicCache or number >= len(cache.layers):
            return None
        layer = cache.layers[number]
        if type(layer) is not DynamicLayer or not layer.is_initialized:
            return None
        both: list[Any] = [layer.keys, layer.values]
        return [tensor[..., -tokens:, :].clone() for tensor in both]

    def _keep(self, rows: tuple[int, ...], records: Sequence[_Record]) -> None:
        """Keep what fits: all keys and values, and the streams in front of every k-th layer."""
        keys_values = [record.keys_values for record in records if record.keys_values is not None]
        if len(keys_values) < len(records):
            return
        self._free -= sum(tensor.nbytes for pair in keys_values for tensor in pair)
        stream_bytes = records[0].stream.nbytes
        if self._free < stream_bytes:
            return
        step = math.ceil(len(records) * stream_bytes / self._free)
        streams = {number: records[number].stream.clone() for number in range(step, len(records), step)}
        self._passes[rows] = _Pass(streams, keys_values)
        self._free -= stream_bytes * len(streams)


def _giving_back(stream: Tensor, number: int, keys_values: Sequence[Tensor]) -> Callable[..., Tensor]:
    """Return the forward of a layer that computes nothing: it returns the recorded stream, and fills the cache."""

    def forward(*_args: Any, **named: Any) -> Tensor:
        if keys_values:
            named["past_key_values"].update(*keys_values, number)
        return stream.clone()  # a layer may write into its input

    return forward


@contextmanager
def _replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own
