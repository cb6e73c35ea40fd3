"""Compute the logits that predict a given response, in one forward pass over prompt and response (teacher forcing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unwrite.models.batches import accepted_inputs
from unwrite.models.placement import input_device
from unwrite.models.shared_work import new_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def response_logits(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    count: int,
    cached: Mapping[str, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the logits that predict the first `count` tokens of each response, for one batch of prompts.

    Only those positions go through the output head, if the model supports that.

    Args:
        model: a language model.
        prompts: token ids.
        responses: token ids of the response to each prompt.
        count: the most positions to return.
        cached: cache of the first tokens of every prompt, by name (`shared_work.prefix_cache`).

    Returns:
        logits [batch, m, V] in float32, and mask [batch, m] of the positions that predict a response token or its end.
        m is `count`, or less if no response is that long. Position 0, which predicts the first token, always counts.
    """
    continuations = [list(response[: count - 1]) for response in responses]
    longest = max(map(len, continuations))
    # Responses are padded on the right, so that the last `longest` + 1 positions are the same for every row. No token
    # attends to later ones, so this padding changes none of the logits that count.
    padded = [
        [*prompt, *continuation, *[0] * (longest - len(continuation))]
        for prompt, continuation in zip(prompts, continuations, strict=True)
    ]
    inputs = new_inputs(padded, cached or {}, input_device(model))
    settings = {**(cached or {}), "use_cache": bool(cached), "logits_to_keep": longest + 1}
    output = model(**accepted_inputs(model, {**inputs, **settings}))
    logits = output.logits[:, -(longest + 1) :]  # a model without logits_to_keep returns all of them
    mask = torch.zeros(len(prompts), longest + 1, dtype=torch.bool, device=logits.device)
    for row, continuation in enumerate(continuations):
        mask[row, : len(continuation) + 1] = True
    return logits.float(), mask
