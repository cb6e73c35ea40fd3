"""What a model can take: the longest sequence, and the largest token id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unwrite.errors import UnwriteError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def longest_sequence(config: PreTrainedConfig) -> int | None:
    """Return how many tokens a model takes, prompt and response together; None if its config sets no limit.

    Args:
        config: a model's configuration. Rotary positions that are scaled reach the scaled length.
    """
    text: Any = config.get_text_config(decoder=True)
    limit = getattr(text, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:
        return None
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    scaling = scaling if isinstance(scaling, dict) else {}
    original, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
    if isinstance(original, int) and isinstance(factor, (int, float)):
        return max(limit, int(original * factor))
    return limit


def refuse_too_long(
    where: str, prompts: Sequence[str], tokens: Sequence[Sequence[int]], response: int, limit: int | None
) -> None:
    """Refuse a prompt that, with its response, exceeds what the model takes.

    Args:
        where: the set and split, for the message.
        prompts: the prompts as the user wrote them.
        tokens: their token ids.
        response: tokens that a response may have.
        limit: tokens that the model takes; None for any number.

    Raises:
        UnwriteError: a prompt is too long; the message has its length and the limit.
    """
    if limit is None:
        return
    for prompt, ids in zip(prompts, tokens, strict=True):
        if len(ids) + response > limit:
            with_response = f" and its response of up to {response}" if response else ""
            or_responses = " Or lower max_tokens in filter, optimize and generate." if response else ""
            raise UnwriteError(
                f"The {where} prompt {prompt[:60]!r} has {len(ids)} tokens{with_response}, but the model takes "
                f"{limit} (max_position_embeddings). Shorten it, or set tokenize.long_prompts to truncate."
                f"{or_responses}"
            )


def refuse_unknown_tokens(where: str, prompts: Sequence[str], tokens: Sequence[Sequence[int]], vocabulary: int) -> None:
    """Refuse a token id that the model's embedding has no row for.

    Args:
        where: the set and split, for the message.
        prompts: the prompts as the user wrote them.
        tokens: their token ids.
        vocabulary: rows of the embedding.

    Raises:
        UnwriteError: the tokenizer gives such an id.
    """
    for prompt, ids in zip(prompts, tokens, strict=True):
        if ids and max(ids) >= vocabulary:
            raise UnwriteError(
                f"The tokenizer gives token {max(ids)} for the {where} prompt {prompt[:60]!r}, but the model knows "
                f"only {vocabulary} tokens. The tokenizer belongs to another model."
            )
