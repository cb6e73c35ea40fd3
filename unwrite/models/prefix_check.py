"""Find the prefix that prompts can share, and measure that sharing it changes nothing.

It does where tokens attend to later ones (prefix language models), and where attention counts the padding between the
prefix and the rest as distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unwrite.models.decoding import DecodingBatch
from unwrite.models.shared_work import SharedWork, prefix_cache, shared_tokens
from unwrite.models.teacher_forcing import response_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_RESPONSE = 3
"""Tokens that the check continues each prompt with."""


def prefix_of(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, padding_sensitive: bool, rest: int = 1
) -> list[int]:
    """Return the tokens that all prompts begin with; none if the model computes something else behind them.

    Two prompts, the shortest and the longest, are run whole and behind the prefix. Their logits must agree to the
    square root of the dtype's rounding: rounding itself differs by less, and another position or mask by more.

    Args:
        model: a language model.
        prompts: token ids, at least one prompt.
        padding_sensitive: whether padding changes what the model computes.
        rest: tokens of each prompt that do not belong to the prefix, at least 1.
    """
    prefix = shared_tokens(prompts, rest)
    if padding_sensitive or not prefix:
        return []
    ends = [min(prompts, key=len), max(prompts, key=len)]
    shared = SharedWork(prefix)
    longest = len(ends[1]) + _RESPONSE
    with torch.inference_mode():
        if not prefix_cache(model, shared, range(len(ends)), longest):
            return []
        behind = _logits(model, ends, lambda: prefix_cache(model, shared, range(len(ends)), longest))
        whole = torch.cat([_logits(model, [prompt], dict) for prompt in ends])
    if behind.shape != whole.shape:
        return []
    change = (behind - whole).norm(dim=-1) / whole.norm(dim=-1)
    return prefix if bool((change < torch.finfo(model.dtype).eps ** 0.5).all()) else []


def _logits(model: PreTrainedModel, prompts: Sequence[Sequence[int]], cached: Callable[[], dict[str, Any]]) -> Tensor:
    """Return the logits [n, tokens, V] that predict a response, in one pass, and its first token, in decoding.

    Some models attend differently in the two.
    """
    responses = [prompt[:_RESPONSE] for prompt in prompts]
    forced, _ = response_logits(model, prompts, responses, _RESPONSE, cached())
    decoded = DecodingBatch(model, prompts, cached()).next_logits()
    return torch.cat([forced, decoded.float().unsqueeze(1)], dim=1)
