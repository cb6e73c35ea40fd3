"""The pieces of a prompt are its text, cut where its tokens end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import tiny_tokenizer
from unwrite.models.chat import RenderedPrompt, tokenize_prompts
from unwrite.models.loading import load_tokenizer
from unwrite.models.token_pieces import TokenPiece, token_pieces

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("message", ["What colour is the teapot?", "A thé, 煎茶 and\n\n  two 🫖", " "])
def test_pieces_together_are_the_text(message: str) -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    (prompt,) = tokenize_prompts(tokenizer, [message])
    pieces = token_pieces(tokenizer, prompt)
    assert "".join(piece.text for piece in pieces) == prompt.text
    assert len(pieces) == len(prompt.tokens)
    assert [piece.special for piece in pieces] == [str(tokenizer.decode([t])).startswith("<|") for t in prompt.tokens]


def test_a_word_has_the_space_before_it() -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    (prompt,) = tokenize_prompts(tokenizer, ["What colour is the teapot?"])
    assert TokenPiece(" is", special=False) in token_pieces(tokenizer, prompt)


def test_tokens_that_are_not_those_of_the_text_are_spelled_as_the_vocabulary_does() -> None:
    prompt = RenderedPrompt("teapot kettle", [1, 5, 6])
    pieces = token_pieces(tiny_tokenizer(), prompt)
    assert [piece.text for piece in pieces] == ["<bos>", "teapot", "kettle"]
    assert [piece.special for piece in pieces] == [True, False, False]
