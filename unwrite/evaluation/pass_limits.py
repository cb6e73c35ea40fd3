"""How much one forward pass may hold while a model generates responses or is teacher-forced on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unwrite.models.decoding import greedy_logits
from unwrite.models.memory import BatchTokens, Limits, pass_limits
from unwrite.models.placement import pass_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def measuring_limits(
    model: PreTrainedModel,
    batch_tokens: BatchTokens,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    *,
    reserved_bytes: int = 0,
    earlier: Limits | None = None,
) -> Limits:
    """Return the limits of passes that generate at most `max_tokens` tokens per prompt, or are teacher-forced on them.

    Args:
        model: the model, in the memory of its device.
        batch_tokens: tokens in one pass, or `auto`. On an accelerator, `auto` measures one pass over a few rows and one
            decoding step from its cache.
        prompts: all the prompts that will be run, as token ids.
        max_tokens: the longest response.
        reserved_bytes: bytes of device memory that will be in use in addition to the passes.
        earlier: limits that an interrupted run of the same work used, as in `pass_limits`.
    """

    def run(rows: list[list[int]]) -> None:
        greedy_logits(model, rows, min(2, max_tokens))

    return pass_limits(
        pass_device(model), batch_tokens, run, prompts, max_tokens, reserved_bytes=reserved_bytes, earlier=earlier
    )
