"""Where in a model numbers stop being finite: asked once its logits have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unwrite.errors import UnwriteError
from unwrite.models.batches import accepted, left_padded
from unwrite.models.layers import decoder_layers, layer_output, stream_argument

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def non_finite_error(model: PreTrainedModel, tokens: Sequence[int], row: int) -> UnwriteError:
    """The error for a prompt whose logits are NaN or infinite: names the first layer that puts out such numbers.

    Args:
        model: It is run again, on these tokens alone.
        tokens: The prompt and its response so far.
        row: The prompt's number, for the error.
    """
    return UnwriteError(
        f"{_first_non_finite(model, tokens)} puts out NaN or infinite numbers for the prompt at place {row} (from 0). "
        "Lower the bounds of max_weight in optimize.space, or set model.dtype to float32; if the model does so before "
        "any edit, even in float32, its checkpoint is damaged."
    )


@torch.inference_mode()
def _first_non_finite(model: PreTrainedModel, tokens: Sequence[int]) -> str:
    finite: list[bool] = []

    def see(stream: Tensor) -> None:
        finite.append(bool(stream.isfinite().all()))

    def first(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(stream_argument(args, kwargs))

    layers = decoder_layers(model)
    with ExitStack() as hooks:
        hooks.enter_context(layers[0].register_forward_pre_hook(first, with_kwargs=True))
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(lambda _m, _a, output: see(layer_output(output))))
        model(**accepted(model, {**left_padded([tokens], model.device), "use_cache": False}))
    if all(finite):
        return "The output head"
    place = finite.index(False)
    return "The embedding" if place == 0 else f"Layer {place - 1}"
