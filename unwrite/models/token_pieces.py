"""The tokens of a prompt as pieces of its text, for people to see where one ends and the next begins."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from unwrite.models.chat import RenderedPrompt


class TokenPiece(NamedTuple):
    """One token: the characters that it ends, and whether it is a special token, which text alone cannot spell.

    A character of several tokens belongs to the first of them, and the others are empty.
    """

    text: str
    special: bool


def token_pieces(tokenizer: PreTrainedTokenizerBase, prompt: RenderedPrompt) -> list[TokenPiece]:
    """Return a prompt's tokens in order; their texts together are the prompt's.

    Where a tokenizer cannot say which characters its tokens stand for, they are shown as its vocabulary spells them.

    Args:
        tokenizer: the tokenizer that made the prompt.
        prompt: a rendered prompt.
    """
    known = tokenizer.added_tokens_decoder
    special = [token in known and known[token].special for token in prompt.tokens]
    texts = _characters(tokenizer, prompt) or list(map(str, tokenizer.convert_ids_to_tokens(prompt.tokens)))
    return [TokenPiece(text, one) for text, one in zip(texts, special, strict=True)]


def _characters(tokenizer: PreTrainedTokenizerBase, prompt: RenderedPrompt) -> list[str]:
    if not tokenizer.is_fast:
        return []
    encoded = tokenizer(prompt.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    if list(encoded["input_ids"]) != prompt.tokens or not prompt.tokens:
        return []
    # Some tokenizers leave the space before a word out of its place, so that only the ends are told.
    ends = [0, *(end for _, end in encoded["offset_mapping"][:-1]), len(prompt.text)]
    return [prompt.text[start:end] for start, end in pairwise(ends)]
