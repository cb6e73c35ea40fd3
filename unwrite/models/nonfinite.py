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
    finite: list[bool] = []  # the input of layer 0, then the output of each layer

    def record(stream: Tensor) -> None:
        finite.append(bool(stream.isfinite().all()))

    def record_input(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        record(stream_argument(args, kwargs))

    def record_output(_module: Any, _args: Any, output: Any) -> None:
        record(layer_output(output))

    layers = decoder_layers(model)
    with ExitStack() as hooks:
        hooks.enter_context(layers[0].register_forward_pre_hook(record_input, with_kwargs=True))
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(record_output))
        model(**accepted_inputs(model, {**left_padded([tokens], input_device(model)), "use_cache": False}))
    if all(finite):
        return "The output head"
    index = finite.index(False)
    return "The embedding" if index == 0 else f"Layer {index - 1}"
