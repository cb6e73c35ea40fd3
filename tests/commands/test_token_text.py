"""Tokens in a terminal: every boundary, special token and line break is seen, and no line is too wide."""

from __future__ import annotations

import click
import pytest
from rich.cells import cell_len

from unwrite.commands.token_text import token_lines
from unwrite.models.token_pieces import TokenPiece

PIECES = [
    TokenPiece("<|user|>", special=True),
    TokenPiece("\n", special=False),
    TokenPiece("What", special=False),
    TokenPiece(" is\t\x1b", special=False),
    TokenPiece("<|end|>", special=True),
]


def plain(pieces: list[TokenPiece], marks: dict[int, str], width: int) -> list[str]:
    return [click.unstyle(line) for line in token_lines(pieces, marks, width)]


def test_boundaries_special_tokens_and_codes_are_seen() -> None:
    assert plain(PIECES, {}, 80) == ["«<|user|>»│⏎", "What│ is⇥␛│«<|end|>»"]


def test_marks_stand_behind_their_tokens() -> None:
    assert plain(PIECES, {1: "-4", 4: "-1"}, 80) == ["«<|user|>»│⏎ ◀ -4", "What│ is⇥␛│«<|end|>» ◀ -1"]


@pytest.mark.parametrize("word", ["tea", "煎茶"])
def test_no_line_is_wider_than_it_may_be(word: str) -> None:
    pieces = [TokenPiece(word, special=False)] * 50
    lines = plain(pieces, {}, 30)
    assert max(map(cell_len, lines)) <= 30 < cell_len("│".join([word] * 50))
    assert "".join(lines) == "│".join([word] * 50)


def test_a_token_inside_a_character_has_a_picture() -> None:
    assert plain([TokenPiece("é", special=False), TokenPiece("", special=False)], {}, 80) == ["é│…"]
