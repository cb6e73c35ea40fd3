"""Text for a page: every character of it shown once, those that cannot be seen by name, long text folded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.report.shown_text import LONGEST, SHORTENED, Piece, code_name, page_text


def plain(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=SHORTENED))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    shown = page_text(text)
    assert (plain(shown.start), shown.whole, shown.length) == (text, [], len(text))


@given(st.text(max_size=200), st.integers(0, 250), st.integers(0, 250))
def test_no_piece_holds_a_character_that_cannot_be_seen(text: str, first: int, last: int) -> None:
    shown = page_text(text, (first, last) if first < last else None)
    held = "".join(piece.text for piece in shown.start)
    assert not any(character in held for character in map(chr, (*range(9), 0x1B, 0x7F, 0x202E, 0x2066, 0x200B, 0xFEFF)))
    held.encode()  # no lone surrogates


@pytest.mark.parametrize(
    ("character", "name"),
    [("\x1b", "␛"), ("\0", "␀"), ("\u202e", "U+202E"), ("\u200b", "U+200B"), ("\ud800", "U+D800"), ("\x9b", "U+009B")],
)
def test_a_hidden_character_is_named(character: str, name: str) -> None:
    assert code_name(character) == name
    assert page_text(f"a{character}b").start == [Piece("a", "plain"), Piece(name, "code"), Piece("b", "plain")]


@pytest.mark.parametrize("kept", ["\n", "\t", "نمی\u200cخواهم", "👩\u200d👧", "e\u0301"])
def test_what_writing_needs_is_kept(kept: str) -> None:
    assert page_text(kept).start == [Piece(kept, "plain")]


def test_the_span_is_marked() -> None:
    text = "Well, I'm sorry."
    assert page_text(text, (6, 15)).start == [
        Piece("Well, ", "plain"),
        Piece("I'm sorry", "mark"),
        Piece(".", "plain"),
    ]
    assert Piece("␛", "code") in page_text("a\x1bb", (0, 3)).start
    assert page_text("short", (3, 99)).start[-1] == Piece("rt", "mark")


def test_long_text_is_shortened_and_held_up_to_a_limit() -> None:
    text = "word " * 10_000
    shown = page_text(text)
    assert plain(shown.start) == text[:SHORTENED]
    assert plain(shown.whole) == text[:LONGEST]
    assert (shown.length, shown.is_cut) == (50_000, True)
    exact = "x" * SHORTENED
    assert page_text(exact).whole == []
    assert not page_text(exact + "y").is_cut


def test_the_beginning_reaches_as_far_as_the_reason() -> None:
    text = "x" * 3000 + "sorry" + "y" * 3000
    assert Piece("sorry", "mark") in page_text(text, (3000, 3005)).start
    far = "x" * (LONGEST + 10) + "sorry"
    assert plain(page_text(far, (LONGEST + 10, LONGEST + 15)).start) == far[:SHORTENED]
    assert len(plain(page_text("x" * 9000, (0, 9000)).start)) < 2 * SHORTENED
