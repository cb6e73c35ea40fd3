"""Tokenize a prompt set as the model receives it, or refuse what it could not answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from unwrite.files.prompts import Prompt
from unwrite.models import chat
from unwrite.models.prompt_limits import refuse_too_long, refuse_unknown_tokens
from unwrite.pipeline.tokens import TokenizedPrompt
from unwrite.schema.params import Tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize_set(
    tokenizer: PreTrainedTokenizerBase,
    where: str,
    prompts: Sequence[Prompt],
    settings: Tokenize,
    *,
    vocabulary: int,
    response: int,
    limit: int | None,
) -> list[TokenizedPrompt]:
    """Render prompts with the chat template and tokenize them.

    Args:
        tokenizer: the model's tokenizer.
        where: the name of the set, for errors.
        prompts: user messages.
        settings: how the template renders them.
        vocabulary: how many tokens the model knows.
        response: how many response tokens follow, at most.
        limit: the longest sequence that the model takes, if it says so.

    Raises:
        UnwriteError: the template refuses a prompt, or the model cannot take it.
    """
    messages = [prompt.text for prompt in prompts]
    rendered = chat.tokenize_prompts(
        tokenizer,
        messages,
        system_prompt=settings.system_prompt,
        response_prefix=settings.response_prefix,
        template_arguments=settings.template_arguments,
        today=template_date(settings.today),
    )
    tokens = [prompt.tokens for prompt in rendered]
    refuse_unknown_tokens(where, messages, tokens, vocabulary)
    refuse_too_long(where, messages, tokens, response, limit)
    return [
        TokenizedPrompt(prompt.text, prompt.reference, text, ids)
        for prompt, (text, ids) in zip(prompts, rendered, strict=True)
    ]


def template_date(today: str | None) -> date | None:
    """Return the date that a chat template prints, if `tokenize.today` gives one."""
    return date.fromisoformat(today) if today else None
