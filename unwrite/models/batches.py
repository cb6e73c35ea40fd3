"""Which prompts share a forward pass, how they are padded, and what of that a model takes."""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError, is_out_of_memory

V = TypeVar("V")

# Tokens of a pass that generates nothing, on a CPU. Enough to keep it busy: more only means more padding, and what a
# layer puts out no longer fits into a cache (the demo's residuals take 1.8 times as long in passes of 8000).
ONE_PASS = 2048


@dataclass
class Budget:
    """How many tokens, padding included, one forward pass may hold: less once memory has run out, for all who share it.

    Fresh, it holds whatever batches it is given.
    """

    tokens: int = sys.maxsize


def run_batches(
    run: Callable[[Sequence[int]], object],
    batches: Sequence[Sequence[int]],
    lengths: Sequence[int],
    budget: Budget,
) -> None:
    """Runs every batch, in halves where it is over the budget, which is lowered where memory runs out.

    Args:
        run: Called with the row numbers of a batch; again with half of them where memory ran out under it, so it must
            begin anew each time.
        batches: Row numbers.
        lengths: Tokens of each row, those to be generated included.
        budget: Lowered to half of what did not fit.

    Raises:
        UnwriteError: One row by itself doesn't fit.
    """
    waiting = deque(batches)
    while waiting:
        rows = waiting.popleft()
        size = len(rows) * max(lengths[row] for row in rows)
        if len(rows) > 1 and size > budget.tokens:
            half = (len(rows) + 1) // 2
            waiting.extendleft([rows[half:], rows[:half]])
        elif not fits(partial(run, rows)):
            if len(rows) == 1:
                raise UnwriteError(
                    f"Memory ran out on a single prompt, {size} tokens with its response. Lower max_tokens or drop the "
                    "longest prompts; or compute in a narrower model.dtype, or on a larger runtime.device."
                )
            budget.tokens = size // 2
            waiting.appendleft(rows)


def fits(run: Callable[[], object]) -> bool:
    """Runs something; False if memory ran out under it."""
    try:
        run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # Only here, where the error and the frames it kept are gone, can what they held be given back.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def by_token_budget(
    lengths: Sequence[int], budget: int, most_rows: int | None = None, *, padding_sensitive: bool
) -> list[list[int]]:
    """Row numbers grouped into batches of similar length whose padded size stays within `budget` tokens.

    With `padding_sensitive`, the rows of a batch have one length, so that none is padded. With `most_rows`, no batch
    has more rows than that (at least one).

    A row longer than the budget gets a batch of its own. Shortest first; rows of one length keep their order.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        # Ascending order: the newest row is the longest, so it sets the padded length.
        fits = batches and (len(batches[-1]) + 1) * lengths[row] <= budget
        allowed = batches and (not padding_sensitive or lengths[batches[-1][0]] == lengths[row])
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
