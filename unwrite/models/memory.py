"""Limit what one forward pass may hold: to a given number, the best on a CPU, or what fits on an accelerator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Literal, NamedTuple

import torch

from unwrite.models.batches import FORWARD_TOKENS, GENERATION_TOKENS, fits

BatchTokens = int | Literal["auto"]
Tokens = Sequence[int]
RunPass = Callable[[list[list[int]]], object]
"""Run one pass over rows of tokens, in the same way as the work to come."""

_LOGITS = 1 << 25
"""Logits compared at once on a CPU: a gigabyte during the comparison."""
_BYTES_PER_LOGIT = 32  # the logits, both log-softmaxes, and the terms of the sum, in float32

# Shares of the free memory. The rest is for what is not measured (edits of activations, fragmentation) and for other
# processes on the device.
_SHARE_FOR_TOKENS = 0.7
_SHARE_FOR_LOGITS = 0.2


class Limits(NamedTuple):
    """What one forward pass may hold."""

    generation: int
    """Tokens in a pass that generates responses: prompts, responses and padding."""
    one_pass: int
    """Tokens in a pass without generation."""
    logits: int
    """Logits in a pass that compares them."""


class PassMemory(NamedTuple):
    """The peak memory of one pass."""

    tokens: int
    peak_bytes: int


def pass_limits(
    device: torch.device,
    batch_tokens: BatchTokens,
    run: RunPass,
    prompts: Sequence[Tokens],
    response_tokens: int = 0,
    *,
    reserved_bytes: int = 0,
    earlier: Limits | None = None,
) -> Limits:
    """Return the limits of passes on a device that already holds the model.

    On a CPU they are constants, measured to be best: longer passes fall out of its caches. The same holds for devices
    without memory statistics (mps). On CUDA a pass is as long as memory allows, since short ones leave it idle.

    Args:
        device: the device of the model.
        batch_tokens: the limit for generation, or `auto`.
        run: callback that runs one pass; called on CUDA only, for `auto`.
        prompts: token ids of all prompts to run.
        response_tokens: the most tokens generated per prompt.
        reserved_bytes: memory that the work needs in addition to its passes.
        earlier: the limits of an earlier part of the same work. On CUDA they apply again unless `batch_tokens` differs:
            the free memory may have changed by now, and other batches round differently.
    """
    if device.type != "cuda":
        return constant_limits(batch_tokens)
    if earlier is not None and batch_tokens in ("auto", earlier.generation):
        return earlier
    if batch_tokens == "auto":
        batch_tokens = _measured_tokens(device, run, _longest_row(prompts, response_tokens), reserved_bytes)
    return Limits(batch_tokens, batch_tokens, logits_that_fit(_free_bytes(device) - reserved_bytes))


def constant_limits(batch_tokens: BatchTokens) -> Limits:
    """Return the limits of passes on a device without memory statistics, such as a CPU."""
    tokens = GENERATION_TOKENS if batch_tokens == "auto" else batch_tokens
    return Limits(tokens, min(tokens, FORWARD_TOKENS), _LOGITS)


def tokens_that_fit(free: int, small: PassMemory, large: PassMemory) -> int:
    """Compute how many tokens a pass may hold, at least 1 (which means one row at a time).

    The difference between two measured passes is the cost of the additional tokens; the rest is fixed.

    Args:
        free: free bytes.
        small: a measured pass.
        large: a measured pass with more tokens.
    """
    per_token = max(1.0, (large.peak_bytes - small.peak_bytes) / (large.tokens - small.tokens))
    fixed = max(0.0, large.peak_bytes - per_token * large.tokens)
    return max(1, int((_SHARE_FOR_TOKENS * free - fixed) / per_token))


def logits_that_fit(free: int) -> int:
    """Compute how many logits may be compared at once with this many free bytes, at least 1."""
    return max(1, int(_SHARE_FOR_LOGITS * free / _BYTES_PER_LOGIT))


def _longest_row(prompts: Sequence[Tokens], response_tokens: int) -> list[int]:
    """Return the longest prompt, repeated to the length it has in the last pass of its response."""
    longest = max(prompts, key=len)
    # The last generated token goes through no pass, and the one before it through the last pass.
    length = len(longest) + max(0, response_tokens - 2)
    return list(islice(cycle(longest), length))


def _measured_tokens(device: torch.device, run: RunPass, row: list[int], reserved_bytes: int) -> int:
    num_rows = max(2, FORWARD_TOKENS // len(row))
    # The very first pass also allocates memory that is kept, so it is not measured.
    if not fits(partial(run, [row] * num_rows)):
        return len(row)
    small, large = (
        PassMemory(count * len(row), _peak_bytes(device, partial(run, [row] * count)))
        for count in (num_rows // 2, num_rows)
    )
    return tokens_that_fit(_free_bytes(device) - reserved_bytes, small, large)


def _peak_bytes(device: torch.device, run: Callable[[], object]) -> int:
    """Measure the peak memory of a call, above what was allocated before."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def _free_bytes(device: torch.device) -> int:
    """Return the free memory of the device, including what torch has reserved but does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
