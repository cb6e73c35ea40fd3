"""Generate greedy responses in batches, each until it is decided."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch

from unwrite.models.batches import (
    GENERATION_TOKENS,
    Advance,
    Budget,
    do_nothing,
    run_batches,
    unpadded_batches,
)
from unwrite.models.decoding import DecodingBatch
from unwrite.models.end_tokens import end_tokens
from unwrite.models.nonfinite import non_finite_error
from unwrite.models.shared_work import NOTHING_SHARED, SharedWork, prefix_cache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Decided = Callable[[int, list[int]], bool]
"""Whether a response is decided, from its row number and its tokens so far."""
BeforePass = Callable[[Sequence[int]], object]
"""A callback that receives the row numbers of the next forward pass."""
_REDUCE_BELOW = 0.9
"""A batch is reduced when less than this share of it is still running: reducing copies the cache."""


def generate_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    *,
    batches: Sequence[Sequence[int]] | None = None,
    end_ids: Collection[int] | None = None,
    shared: SharedWork = NOTHING_SHARED,
    budget: Budget | None = None,
    advance: Advance = do_nothing,
) -> list[list[int]]:
    """Generate the whole greedy response to each tokenized prompt.

    Args:
        model: a language model.
        prompts: token ids.
        max_tokens: the longest response.
        batches: row numbers of the prompts that share forward passes. By default prompts of one length share passes,
            which is right for every model; mix lengths where padding changes nothing.
        end_ids: tokens that end a response; by default those of the model's configurations. `end_tokens(model,
            tokenizer)` adds those of its tokenizer and chat template.
        shared: work that passes share.
        budget: tokens that a forward pass may hold, responses included; lowered when memory runs out.
        advance: called with the number of responses that have just ended.

    Returns:
        token ids, without the end token that closed a response.

    Raises:
        UnwriteError: a logit is NaN or infinite (the message names the layer), or one prompt does not fit in memory.

    Example:
        >>> model, tokenizer = load_model("demo/model"), load_tokenizer("demo/model")
        >>> (prompt,) = tokenize_prompts(tokenizer, ["What colour is the teapot?"])
        >>> decode(tokenizer, generate_greedily(model, [prompt.tokens], max_tokens=40))
        ["...tea..."]
    """
    if batches is None:
        batches = unpadded_batches([len(prompt) + max_tokens for prompt in prompts], GENERATION_TOKENS)
    return generate_decided(
        model, prompts, batches, max_tokens, _never, end_ids=end_ids, shared=shared, advance=advance, budget=budget
    )


def _never(_row: int, _response: list[int]) -> bool:
    return False


@torch.inference_mode()
def generate_decided(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    batches: Sequence[Sequence[int]],
    max_tokens: int,
    decided: Decided,
    *,
    end_ids: Collection[int] | None = None,
    shared: SharedWork = NOTHING_SHARED,
    before_pass: BeforePass = do_nothing,
    advance: Advance = do_nothing,
    budget: Budget | None = None,
) -> list[list[int]]:
    """Generate the greedy response to each prompt until it is decided, ends, or has `max_tokens` tokens.

    Only the logits choose: sampling settings, penalties and suppressed tokens of the generation config are ignored.

    Args:
        model: a language model; its cache is used if it has one.
        prompts: token ids.
        batches: row numbers of the prompts that share forward passes.
        max_tokens: the longest response.
        decided: called with a row number and its response so far, after each token; True ends that response. Must
            depend on nothing else, since a batch that ran out of memory starts over in halves.
        end_ids: tokens that end a response; by default those of the model's configurations.
        shared: work that passes share.
        before_pass: called before every forward pass with its row numbers, in order.
        advance: called with the number of responses that have just ended.
        budget: tokens that a forward pass may hold, responses included; lowered when memory runs out.

    Returns:
        token ids, without the end token that closed a response; empty for a prompt that is in no batch.

    Raises:
        UnwriteError: a logit is NaN or infinite (the message names the layer), or one prompt does not fit in memory.
    """
    ends = frozenset(end_tokens(model) if end_ids is None else end_ids)
    responses: dict[int, list[int]] = {}

    def take(row: int, token: int) -> bool:
        """Add a token to a response, and return whether the response continues."""
        if token in ends:
            return False
        responses[row].append(token)
        return not decided(row, responses[row]) and len(responses[row]) < max_tokens

    def respond(rows: Sequence[int]) -> None:
        responses.update((row, []) for row in rows)  # also when a batch starts over
        longest = max_tokens + max(len(prompts[row]) for row in rows)
        cached = prefix_cache(model, shared, rows, longest, before_pass)
        batch = DecodingBatch(model, [prompts[row] for row in rows], cached)
        counted = 0

        def count(ended: int) -> None:
            nonlocal counted
            counted += ended
            if ended:
                advance(ended)

        try:
            _run_batch(
                batch, prompts, rows, responses, take=take, around=shared.around, before_pass=before_pass, advance=count
            )
        except BaseException:
            if counted:
                advance(-counted)  # the batch may start over
            raise

    run_batches(respond, batches, [len(prompt) + max_tokens for prompt in prompts], budget or Budget())
    return [responses.get(row, []) for row in range(len(prompts))]


def _run_batch(
    batch: DecodingBatch,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[int],
    responses: dict[int, list[int]],
    *,
    take: Callable[[int, int], bool],
    around: Callable[[Sequence[int]], AbstractContextManager[object]],
    before_pass: BeforePass,
    advance: Advance,
) -> None:
    """Decode one batch until all of its responses have ended."""
    rows = list(rows)
    running = list(range(len(rows)))  # indices into the batch
    while running:
        before_pass(rows)
        with around(rows) if batch.is_first_pass else nullcontext():
            largest, best = batch.next_logits().max(-1)
        finite, tokens = largest.isfinite().tolist(), best.tolist()
        for member in running:
            if not finite[member]:
                row = rows[member]
                before_pass([row])
                raise non_finite_error(batch.model, [*prompts[row], *responses[row]], row)
        before, running = running, [member for member in running if take(rows[member], tokens[member])]
        advance(len(before) - len(running))
        batch.append(best)
        if 0 < len(running) < _REDUCE_BELOW * len(rows) and batch.keep(running):
            rows = [rows[member] for member in running]
            running = list(range(len(rows)))
