"""The greedy response in the plainest way: no cache, no padding, no batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def plain_response(
    model: PreTrainedModel, prompt: Sequence[int], max_tokens: int, ends: Sequence[int] = ()
) -> list[int]:
    """Generate one token at a time, running the whole sequence again for each."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(max_tokens):
            best = int(model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax())
            if best in ends:
                break
            tokens.append(best)
    return tokens[len(prompt) :]
