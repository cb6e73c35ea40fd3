"""Locate the first layer whose output is not finite, after a model's logits turned out not to be."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unwrite.errors import UnwriteError
from unwrite.models.batches import accepted_inputs, left_padded
from unwrite.models.layers import decoder_layers, layer_output, stream_argument
from unwrite.models.placement import input_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def non_finite_error(model: PreTrainedModel, tokens: Sequence[int], row: int) -> UnwriteError:
    """Return the error for a prompt whose logits are NaN or infinite; it names the first layer with such an output.

    Args:
        model: a language model, run again on these tokens alone.
        tokens: the prompt and its response so far.
        row: number of the prompt, for the message.
    """
    return UnwriteError(
        f"{_first_non_finite(model, tokens)} outputs NaN or infinity for the prompt at index {row}. "
        "Lower the bounds of max_weight in optimize.space, or set model.dtype to float32. If an unedited model does "
        "this in float32 too, its checkpoint is damaged."
    )


@torch.inference_mode()
def _first_non_finite(model: PreTrainedModel, tokens: Sequence[int]) -> str:
    layers = decoder_layers(model)
    broken: list[str] = []

    def record(stream: Tensor, where: str) -> None:
        if not stream.isfinite().all():
            broken.append(where)

    def record_input(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        record(stream_argument(args, kwargs), "The embedding")

    def record_output(module: Any, _args: Any, output: Any) -> None:
        record(layer_output(output), f"Layer {layers.index(module)}")

    with ExitStack() as hooks:
        hooks.enter_context(layers[0].register_forward_pre_hook(record_input, with_kwargs=True))
        for layer in dict.fromkeys(layers):
            hooks.enter_context(layer.register_forward_hook(record_output))
        model(**accepted_inputs(model, {**left_padded([tokens], input_device(model)), "use_cache": False}))
    return broken[0] if broken else "The output head"
