"""The sizes of a model that memory and time follow from, read off its configuration; no weight is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.layers import decoder_layers
from unwrite.models.quantized import packed_size
from unwrite.terms import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class ModelSize(NamedTuple):
    """Sizes of a model.

    parameters: how many numbers its weights have; tied weights count once.
    largest_layer: how many of them the largest decoder layer has.
    layers: L.
    hidden: d, the width of the residual stream.
    widest: the most features that a module of a layer takes or gives.
    vocabulary: V.
    cached: numbers that the cache holds per token, in all layers; an upper bound where layers keep a window or a state.
    packed: how many parameters are quantized.
    packed_bytes: what these take.
    """

    parameters: int
    largest_layer: int
    layers: int
    hidden: int
    widest: int
    vocabulary: int
    cached: int
    packed: int = 0
    packed_bytes: int = 0

    def weight_bytes(self, itemsize: int) -> int:
        """Return the bytes of the weights in memory: quantized ones as they are packed, others in `itemsize` each."""
        return (self.parameters - self.packed) * itemsize + self.packed_bytes


def model_size(config: PreTrainedConfig, quantization: Quantization = "none") -> ModelSize:
    """Read the sizes of the model of a configuration.

    Args:
        config: the configuration.
        quantization: `model.quantization`.

    Raises:
        UnwriteError: it is not that of a decoder-only language model.
    """
    model = build_on_meta(config)
    text: Any = config.get_text_config(decoder=True)
    layers = decoder_layers(model)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    packed, packed_bytes = (0, 0) if quantization == "none" else packed_size(model, quantization)
    return ModelSize(
        parameters=count(model),
        largest_layer=max(map(count, layers)),
        layers=len(layers),
        hidden=text.hidden_size,
        widest=max(max(weight.shape[-2:]) for layer in layers for weight in matrices(layer)),
        vocabulary=text.vocab_size,
        cached=2 * len(layers) * heads * width,
        packed=packed,
        packed_bytes=packed_bytes,
    )


def count(module: nn.Module) -> int:
    """Return the number of parameters of a module; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def matrices(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module that are matrices, or stacks of them."""
    return [parameter for parameter in module.parameters() if parameter.dim() > 1]
