"""Which prompts share a forward pass, how they are padded, and what of that a model takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

V = TypeVar("V")


def by_token_budget(
    lengths: Sequence[int], budget: int, most_rows: int | None = None, *, equal_lengths: bool
) -> list[list[int]]:
    """Row numbers grouped into batches of similar length whose padded size stays within `budget` tokens.

    With `equal_lengths`, the rows of a batch have one length, so that none is padded. With `most_rows`, no batch has
    more rows than that (at least one).

    A row longer than the budget gets a batch of its own. Shortest first; rows of one length keep their order.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        # Ascending order: the newest row is the longest, so it sets the padded length.
        fits = batches and (len(batches[-1]) + 1) * lengths[row] <= budget
        allowed = batches and (not equal_lengths or lengths[batches[-1][0]] == lengths[row])
        if fits and allowed and (most_rows is None or len(batches[-1]) < most_rows):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and `position_ids`, each [batch, longest], padded at the left with token 0.

    Positions count from each prompt's first token, so that padding moves nothing.
    """
    longest = max(map(len, prompts))
    ids = torch.zeros((len(prompts), longest), dtype=torch.long)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, tokens in enumerate(prompts):
        ids[row, longest - len(tokens) :] = torch.tensor(tokens, dtype=torch.long)
        mask[row, longest - len(tokens) :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return {
        name: tensor.to(device)
        for name, tensor in {"input_ids": ids, "attention_mask": mask, "position_ids": positions}.items()
    }


def accepted(model: nn.Module, inputs: Mapping[str, V]) -> dict[str, V]:
    """Those inputs that the model's forward has an argument for; all of them, where it takes any keyword.

    Recurrent models have no use for positions, models that come with their own code may know neither `use_cache` nor
    `logits_to_keep`.
    """
    parameters = inspect.signature(model.forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(inputs)
    return {name: value for name, value in inputs.items() if name in parameters}
