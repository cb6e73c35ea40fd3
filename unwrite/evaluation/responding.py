"""The greedy responses of a model to tokenized prompts, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unwrite.evaluation.behaviour import decode, opened_tags
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.models.batches import Advance, Budget, by_token_budget, do_nothing
from unwrite.models.end_tokens import end_tokens
from unwrite.models.generation import generate_greedily
from unwrite.models.memory import BatchTokens
from unwrite.models.prefix_check import prefix_of
from unwrite.models.shared_work import SharedWork

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    budget = Budget(measuring_limits(model, batch_tokens, prompts, max_tokens).generation)
    lengths = [len(prompt) + max_tokens for prompt in prompts]
    responses = generate_greedily(
        model,
        prompts,
        max_tokens,
        batches=by_token_budget(lengths, budget.tokens, padding_sensitive=padding_sensitive),
        end_ids=end_tokens(model, tokenizer),
        shared=SharedWork(prefix_of(model, prompts, padding_sensitive=padding_sensitive)),
        advance=advance,
        budget=budget,
    )
    tags = opened_tags(tokenizer, prompts)
    return [tag + text for tag, text in zip(tags, decode(tokenizer, responses), strict=True)]
