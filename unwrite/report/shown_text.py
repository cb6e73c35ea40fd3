"""Text from models and strangers, cut into pieces that a page shows as they are: nothing in it acts on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

SHORTENED = 700
"""Characters of a text that are shown before it is unfolded."""
LONGEST = 20_000
"""Characters of a text that the page holds at all."""

# Control codes (such as those of a terminal), directional overrides and isolates, invisible spaces, lone surrogates.
# The joiners U+200C and U+200D are left alone: Persian, Indic scripts and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


class Piece(NamedTuple):
    """Characters that are shown alike: plain, the reason of the judge (`mark`), or a code that has no picture."""

    text: str
    kind: Literal["plain", "mark", "code"]


class ShownText(NamedTuple):
    """A text for a page: its beginning, all that the page holds of it (empty if the beginning is all), its length."""

    start: list[Piece]
    whole: list[Piece]
    length: int

    @property
    def is_cut(self) -> bool:
        """Whether even the page does not hold all of it."""
        return self.length > LONGEST


def page_text(text: str, span: tuple[int, int] | None = None) -> ShownText:
    """Return a text for a page.

    Args:
        text: any text.
        span: the characters [start, stop) to mark, if any; the beginning is extended to show where they start.
    """
    start = SHORTENED
    if span is not None and span[0] < LONGEST:
        start = max(SHORTENED, min(span[1], span[0] + SHORTENED) + 80)
    if len(text) <= start:
        return ShownText(list(_pieces(text, span)), [], len(text))
    return ShownText(list(_pieces(text[:start], span)), list(_pieces(text[:LONGEST], span)), len(text))


def _pieces(text: str, span: tuple[int, int] | None) -> Iterator[Piece]:
    """Yield the pieces of a text in order; codes stay codes inside the marked characters."""
    first, last = (0, 0) if span is None else (min(span[0], len(text)), min(span[1], len(text)))
    parts: tuple[tuple[str, Literal["plain", "mark"]], ...] = (
        (text[:first], "plain"),
        (text[first:last], "mark"),
        (text[last:], "plain"),
    )
    for part, kind in parts:
        place = 0
        for hidden in _HIDDEN.finditer(part):
            if hidden.start() > place:
                yield Piece(part[place : hidden.start()], kind)
            yield Piece(code_name(hidden[0]), "code")
            place = hidden.end()
        if place < len(part):
            yield Piece(part[place:], kind)


def code_name(character: str) -> str:
    r"""Return a name for a character that cannot be seen: its picture for an ASCII control code, else its number.

    Example:
        >>> code_name("\x1b"), code_name("\u202e")
        ('␛', 'U+202E')
    """
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    return f"U+{number:04X}"
