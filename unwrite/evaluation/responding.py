"""The greedy responses of a model to tokenized prompts: their tokens, and their text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from unwrite.evaluation.behaviour import decode, opened_tags
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.models.batches import Advance, Budget, by_token_budget, do_nothing
from unwrite.models.end_tokens import end_tokens
from unwrite.models.generation import generate_greedily
from unwrite.models.memory import BatchTokens, Limits
from unwrite.models.prefix_check import prefix_of
from unwrite.models.shared_work import SharedWork

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Responding(NamedTuple):
    """What passes over several sets of prompts have in common.

    end_ids: tokens that end a response.
    budget: tokens that fit into memory, lowered when it runs out.
    shared: the tokens that all prompts begin with, run once a pass.
    padding_sensitive: whether the prompts of a batch must have the same length.
    """

    end_ids: Sequence[int]
    budget: Budget
    shared: SharedWork
    padding_sensitive: bool


def start_responding(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    limits: Limits,
    *,
    padding_sensitive: bool,
) -> Responding:
    """Find out what the passes over some prompts have in common.

    Args:
        model: a language model.
        tokenizer: its tokenizer.
        prompts: token ids of every prompt that will be answered.
        limits: what one pass may hold, as in `measuring_limits`.
        padding_sensitive: whether the prompts of a batch must have the same length.
    """
    shared = SharedWork(prefix_of(model, prompts, padding_sensitive=padding_sensitive))
    return Responding(end_tokens(model, tokenizer), Budget(limits.generation), shared, padding_sensitive)


def greedy_responses(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    responding: Responding,
    *,
    advance: Advance = do_nothing,
) -> list[list[int]]:
    """Return the tokens of the greedy response to each prompt.

    Args:
        model: a language model.
        prompts: token ids, some of those that `responding` is for.
        max_tokens: the longest response.
        responding: what the passes have in common.
        advance: called with the number of responses that have just ended.

    Raises:
        UnwriteError: as in `generate_greedily`.
    """
    end_ids, budget, shared, padding_sensitive = responding
    lengths = [len(prompt) + max_tokens for prompt in prompts]
    return generate_greedily(
        model,
        prompts,
        max_tokens,
        batches=by_token_budget(lengths, budget.tokens, padding_sensitive=padding_sensitive),
        end_ids=end_ids,
        shared=shared,
        advance=advance,
        budget=budget,
    )


def response_texts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> list[str]:
    """Return the text of each response, with the tag of a chain-of-thought block that its prompt opens.

    Args:
        tokenizer: the model's tokenizer.
        prompts: token ids.
        responses: token ids of the response to each.
    """
    tags = opened_tags(tokenizer, prompts)
    return [tag + text for tag, text in zip(tags, decode(tokenizer, responses), strict=True)]


def greedy_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    *,
    batch_tokens: BatchTokens = "auto",
    padding_sensitive: bool = True,
    advance: Advance = do_nothing,
) -> list[str]:
    """Return the greedy response to each prompt, with the tag of a chain-of-thought block that the prompt opens.

    Args:
        model: a language model.
        tokenizer: its tokenizer.
        prompts: token ids.
        max_tokens: the longest response.
        batch_tokens: tokens in one pass, or `auto`.
        padding_sensitive: whether the prompts of a batch must have the same length.
        advance: called with the number of responses that have just ended.

    Raises:
        UnwriteError: as in `generate_greedily`.
    """
    limits = measuring_limits(model, batch_tokens, prompts, max_tokens)
    responding = start_responding(model, tokenizer, prompts, limits, padding_sensitive=padding_sensitive)
    return response_texts(tokenizer, prompts, greedy_responses(model, prompts, max_tokens, responding, advance=advance))
