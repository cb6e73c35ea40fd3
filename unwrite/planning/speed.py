"""How fast the model runs here: one small pass that reads prompts, and a few steps that decode one row and several."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from unwrite.models.decoding import DecodingBatch
from unwrite.planning.stage_needs import Passes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS, LENGTH, STEPS = 8, 32, 4


class Speed(NamedTuple):
    """Measured seconds.

    per_read_token: of a prompt token in a pass over several prompts.
    one_row: of a decoding step of one response.
    rows: of a decoding step of `ROWS` responses.
    """

    per_read_token: float
    one_row: float
    rows: float

    def seconds(self, passes: Passes) -> float:
        """Estimate the seconds of some passes: a decoding step costs a constant and a share for each row."""
        per_row = max(0.0, (self.rows - self.one_row) / (ROWS - 1))
        decoding = sum(
            longest * (self.one_row + (rows - 1) * per_row) for rows, longest in passes.generated if rows > 0
        )
        return passes.read * self.per_read_token + decoding


def measure_speed(model: PreTrainedModel, clock: Callable[[], float] = time.perf_counter) -> Speed:
    """Run the model on a few tokens and measure it; the very first pass, which is slower, does not count.

    Args:
        model: the model, in memory.
        clock: returns the time in seconds.
    """
    _times(model, 1, clock)
    read, rows = _times(model, ROWS, clock)
    _, one = _times(model, 1, clock)
    return Speed(read / (ROWS * LENGTH), one, rows)


@torch.inference_mode()
def _times(model: PreTrainedModel, rows: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of reading `rows` prompts, and of a decoding step behind them."""
    batch = DecodingBatch(model, [list(range(1, LENGTH + 1))] * rows)
    start = clock()
    tokens = batch.next_logits().argmax(-1)
    read = clock()
    for _ in range(STEPS):
        batch.append(tokens)
        tokens = batch.next_logits().argmax(-1)
    tokens.cpu()  # waits for an accelerator
    return read - start, (clock() - read) / STEPS
