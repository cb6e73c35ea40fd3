"""Batches of prompts: which share a forward pass, how they are padded, and what happens when memory runs out."""

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
Advance = Callable[[int], object]
"""A progress callback: it receives the number of prompts finished since the last call."""

FORWARD_TOKENS = 2048
"""Tokens in one pass without generation, on a CPU.

Enough to keep it busy: more only adds padding, and the output of a layer no longer fits in a cache (the demo's
residuals take 1.8 times as long in passes of 8000).
"""

GENERATION_TOKENS = 16384
"""Tokens in one pass of generation, on a CPU.

The cost of a decoded token is mostly reading the weights, once per pass: the fewer passes the better, until all prompts
are in one. The demo's trials take the same time from 8192 to 65536 tokens, a quarter more at 2048.
"""


def do_nothing(_: object) -> None:
    """Do nothing: the default callback."""


@dataclass
class Budget:
    """The tokens, padding included, that a forward pass may hold; mutable: it is lowered when memory runs out.

    All work that shares a budget benefits when it is lowered. The default never splits a batch.
    """

    tokens: int = sys.maxsize


def run_batches(
    run: Callable[[Sequence[int]], object],
    batches: Sequence[Sequence[int]],
    lengths: Sequence[int],
    budget: Budget,
) -> None:
    """Run every batch; halve those over the budget, and lower the budget when memory runs out.

    Args:
        run: callback for the row numbers of a batch; called again with half of them if memory ran out, so it must
            start over on each call.
        batches: row numbers.
        lengths: tokens of each row, including those to be generated.
        budget: lowered to half of what did not fit.

    Raises:
        UnwriteError: a single row does not fit in memory.
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
                    f"Memory ran out on a single prompt ({size} tokens, response included). Lower max_tokens, drop the "
                    "longest prompts, choose a narrower model.dtype, or use a runtime.device with more memory."
                )
            budget.tokens = size // 2
            waiting.appendleft(rows)


def fits(run: Callable[[], object]) -> bool:
    """Call `run` and return whether it had enough memory."""
    try:
        run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # Memory can be released only here, after the error and the frames it kept alive are gone.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def unpadded_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return batches that are right for every model: rows of one length, so that nothing is padded."""
    return by_token_budget(lengths, budget, padding_sensitive=True)


def by_token_budget(
    lengths: Sequence[int], budget: int, most_rows: int | None = None, *, padding_sensitive: bool
) -> list[list[int]]:
    """Group row numbers into batches of similar length whose padded size stays within `budget` tokens.

    Shortest first; rows of the same length keep their order. A row longer than the budget gets its own batch.

    Args:
        lengths: tokens of each row.
        budget: tokens per batch, padding included.
        most_rows: the largest number of rows in a batch, at least 1; None for no limit.
        padding_sensitive: whether padding changes what the model computes; then all rows of a batch have one length.
    """

    def has_room(batch: list[int], row: int) -> bool:
        # In ascending order the new row is the longest, so it sets the padded length.
        if (len(batch) + 1) * lengths[row] > budget:
            return False
        if most_rows is not None and len(batch) >= most_rows:
            return False
        return not padding_sensitive or lengths[batch[0]] == lengths[row]

    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if batches and has_room(batches[-1], row):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> dict[str, Tensor]:
    """Return `input_ids`, `attention_mask` and `position_ids`, each [batch, longest], padded on the left with token 0.

    Positions count from the first token of each prompt, so padding does not shift them.
    """
    longest = max(map(len, prompts))
    ids = torch.zeros((len(prompts), longest), dtype=torch.long)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, tokens in enumerate(prompts):
        ids[row, longest - len(tokens) :] = torch.tensor(tokens, dtype=torch.long)
        mask[row, longest - len(tokens) :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def accepted_inputs(model: nn.Module, inputs: Mapping[str, V]) -> dict[str, V]:
    """Return the inputs that the model's forward accepts: those that it names, or all if it takes any keyword.

    Recurrent models have no position ids, and models with their own code may lack `use_cache` or `logits_to_keep`.
    """
    parameters = inspect.signature(model.forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(inputs)
    return {name: value for name, value in inputs.items() if name in parameters}
