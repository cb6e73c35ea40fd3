"""Degenerate responses: empty, lost in thought, or the same thing over and over."""

import re
from collections.abc import Iterator, Sequence

from unwrite.core.markers import normalize_text
from unwrite.core.thinking import answer_of, ends_in_thought
from unwrite.terms import Degeneration

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_LONGEST_UNIT = 16
_REPEATS = 4
_LOOP_WORDS = 8
_LOOP_CHARACTERS = 24
_LETTER_RUN = re.compile(r"([^\W\d_])\1{11}")


def degeneration_of(text: str) -> Degeneration | None:
    """Return why a response is degenerate, or None.

    The text is normalized first (`normalize_text`). The first of these that holds is the reason:

    - loop of words: 1 to 16 words, 4 times or more in a row, 8 words or more in all. Words are runs of letters and
      digits (apostrophes within); anything between words does not count.
    - loop of characters within a stretch without white space, for scripts that have none: 1 to 16 characters, 4 times
      or more in a row, 24 characters or more in all; or one letter 12 times or more.
    - open thinking: the text ends within a chain-of-thought block.
    - empty: there is no answer, only white space or closed chain-of-thought blocks (`answer_of`).

    A loop without a letter (digits, a rule, the frame of a table) is ordinary in a text, so it counts only if it makes
    up more than half of the words, or of the characters other than white space. In a text without any word, white space
    is ignored.

    So these are not degenerate: lists whose entries differ, "no, no, no", "ha ha ha", tables, 1000000000000. Loops that
    count ("1. Sorry 2. Sorry") or vary are not detected.

    Args:
        text: a response.

    Returns:
        `loop`, `open thinking` or `empty`; None for an ordinary response.

    Example:
        >>> degeneration_of("I see. I see. I see. I see. I see.")
        'loop'
    """
    if _is_looping(normalize_text(text)):
        return "loop"
    if ends_in_thought(text):
        return "open thinking"
    return None if normalize_text(answer_of(text)) else "empty"


def _is_looping(text: str) -> bool:
    words = _WORD.findall(text)
    if _loops(words, _LOOP_WORDS, len(words)) or _LETTER_RUN.search(text):
        return True
    dense = text.replace(" ", "")
    return any(_loops(stretch, _LOOP_CHARACTERS, len(dense)) for stretch in (text.split() if words else [dense]))


def _loops(items: Sequence[str], least: int, total: int) -> bool:
    """Return whether a unit repeats 4 times or more in a row; one without a letter must fill over half of `total`."""
    for period in range(1, min(_LONGEST_UNIT, len(items) // _REPEATS) + 1):
        for start, stop in _periodic(items, period):
            length = stop - start
            if length < max(least, _REPEATS * period):
                continue
            if 2 * length > total or any(c.isalpha() for item in items[start : start + period] for c in item):
                return True
    return False


def _periodic(items: Sequence[str], period: int) -> Iterator[tuple[int, int]]:
    """Yield the maximal stretches (start, stop) in which every item equals the one `period` items before it."""
    start = 0
    for i in range(period, len(items) + 1):
        if i == len(items) or items[i] != items[i - period]:
            yield start, i
            start = i - period + 1
