"""How much one forward pass may hold: as set, as is best on a CPU, or as an accelerator was found to have room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Literal, NamedTuple

import torch

from unwrite.models.batches import ONE_PASS, fits

BatchTokens = int | Literal["auto"]

# On a CPU, what a decoded token costs is mostly reading the weights, once a pass: the fewer passes the better, until
# all prompts are in one. The demo's trials take the same time from 8192 to 65536 tokens, a quarter more at 2048.
_TOKENS = 16384
# Where nothing is generated, and logits are compared: a gigabyte while they are.
_LOGITS = 1 << 25
_BYTES_A_LOGIT = 32  # logits, both log-softmaxes, and the terms of the sum, in float32

# Shares of the memory that is free. The rest is for what isn't measured (edits of activations, fragments) and for
# what others on the device may take.
_FOR_TOKENS = 0.7
_FOR_LOGITS = 0.2


class Limits(NamedTuple):
    """What one forward pass may hold.

    generation: Tokens where responses are generated: prompts, responses, and padding.
    one_pass: Tokens where none are.
    logits: Numbers of logits where those of a pass are compared.
    """

    generation: int
    one_pass: int
    logits: int


def pass_limits(
    device: torch.device,
    batch_tokens: BatchTokens,
    run: Callable[[list[list[int]]], object],
    prompts: Sequence[Sequence[int]],
    response_tokens: int = 0,
    *,
    kept: int = 0,
    earlier: Limits | None = None,
) -> Limits:
    """The limits of passes on a device, with the model in its memory.

    On a CPU they are what was measured best: longer passes fall out of its caches. So they are on devices that keep no
    statistics of their memory (mps). On CUDA a pass is as long as memory allows, since short ones leave it idle.

    Args:
        device: The model's.
        batch_tokens: Those of `generation`, or `auto`.
        run: Runs one pass on these rows of tokens as the work to come will: called on CUDA alone, and for `auto`.
        prompts: All that will be run.
        response_tokens: The most that will be generated to each.
        kept: Bytes that the work will take beside its passes.
        earlier: Limits that an earlier part of the same work ran under. On CUDA they count, unless `batch_tokens` says
            otherwise: what is free may be another number now, and other batches are rounded otherwise.
    """
    if device.type != "cuda":
        tokens = _TOKENS if batch_tokens == "auto" else batch_tokens
        return Limits(tokens, min(tokens, ONE_PASS), _LOGITS)
    if earlier is not None and batch_tokens in ("auto", earlier.generation):
        return earlier
    if batch_tokens == "auto":
        longest = max(prompts, key=len)
        # The last token that is generated goes through no pass, the one before it through the last.
        length = len(longest) + max(0, response_tokens - 2)
        batch_tokens = _measured_tokens(device, run, list(islice(cycle(longest), length)), kept)
    return Limits(batch_tokens, batch_tokens, logits_that_fit(_free_bytes(device) - kept))


def tokens_that_fit(free: int, small: tuple[int, int], large: tuple[int, int]) -> int:
    """How many tokens a pass may hold: at least 1, which is a row at a time.

    Args:
        free: Bytes.
        small: The tokens of a pass, and the bytes that it took at its peak.
        large: Those of a larger one. What it took more is what more tokens take; the rest is taken by any pass.
    """
    (few, least), (many, most) = small, large
    a_token = max(1.0, (most - least) / (many - few))
    always = max(0.0, most - a_token * many)
    return max(1, int((_FOR_TOKENS * free - always) / a_token))


def logits_that_fit(free: int) -> int:
    """How many numbers of logits may be compared at once in so many free bytes: at least 1."""
    return max(1, int(_FOR_LOGITS * free / _BYTES_A_LOGIT))


def _measured_tokens(device: torch.device, run: Callable[[list[list[int]]], object], row: list[int], kept: int) -> int:
    rows = max(2, ONE_PASS // len(row))
    # The first pass of all also takes what then stays taken.
    if not fits(partial(run, [row] * rows)):
        return len(row)
    small, large = ((count * len(row), _peak_bytes(device, partial(run, [row] * count))) for count in (rows // 2, rows))
    return tokens_that_fit(_free_bytes(device) - kept, small, large)


def _peak_bytes(device: torch.device, run: Callable[[], object]) -> int:
    """What a call takes at its peak, beside what was taken before."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def _free_bytes(device: torch.device) -> int:
    """What the device has free, and what torch holds of it without using it."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
