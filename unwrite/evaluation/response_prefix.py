"""Find the text that every response of a model begins with, so that what is measured begins with the answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unwrite.core.beginnings import closed_beginning, common_beginning
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.evaluation.responding import greedy_responses, start_responding
from unwrite.models.memory import BatchTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unwrite.models.chat import RenderedPrompt

_TOKENS = 16
"""Response tokens to read: enough for a tag in any spelling."""
_logger = logging.getLogger(__name__)


def find_response_prefix(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[RenderedPrompt],
    closed_thoughts: Sequence[tuple[str, str]],
    *,
    batch_tokens: BatchTokens = "auto",
    padding_sensitive: bool = True,
) -> str:
    """Return what the greedy responses to some prompts all begin with, a chain of thought in it closed.

    Args:
        model: a language model.
        tokenizer: its tokenizer.
        prompts: rendered prompts of both sets, without a prefix, at least one.
        closed_thoughts: how a chain of thought opens, and the closed block in its place.
        batch_tokens: tokens in one pass, or `auto`.
        padding_sensitive: whether the prompts of a batch must have the same length.

    Raises:
        UnwriteError: as in `generate_greedily`.
        ValueError: there are no prompts.
    """
    tokens = [prompt.tokens for prompt in prompts]
    limits = measuring_limits(model, batch_tokens, tokens, _TOKENS)
    responding = start_responding(model, tokenizer, tokens, limits, padding_sensitive=padding_sensitive)
    beginning = common_beginning(greedy_responses(model, tokens, _TOKENS, responding))
    said = str(tokenizer.decode(beginning, skip_special_tokens=False))
    prefix = closed_beginning(prompts[0].text, said, closed_thoughts)
    if prefix:
        _logger.info("Every response begins with %r: the prompts end in %r.", said, prefix)
    else:
        _logger.info("The responses to %d prompts have no common beginning.", len(prompts))
    return prefix
