"""The template of base models, which have none: the prompt as plain text, begun as the tokenizer begins any text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RAW_TEMPLATE = (
    "{#- Plain text without a chat template, by unwrite. -#}"
    "{% for message in messages %}{{ message.content }}{{ '' if loop.last else '\\n\\n' }}{% endfor %}"
)
"""A system prompt is a paragraph before the text. The comment tells this template from any other."""


def is_raw(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer's template is `RAW_TEMPLATE`."""
    return bool(tokenizer.chat_template == RAW_TEMPLATE)


def opening_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the special tokens that a tokenizer puts before plain text, such as BOS; what it puts behind is left out.

    Args:
        tokenizer: any tokenizer.
        text: a text with tokens of its own.
    """
    whole, alone = (
        list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]) for special in (True, False)
    )
    extra = len(whole) - len(alone)
    starts = (start for start in range(extra + 1) if whole[start : start + len(alone)] == alone)
    return whole[: next(starts, 0)]
