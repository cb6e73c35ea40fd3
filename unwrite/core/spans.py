"""Where in a response a marker is: markers are found in normalized text, and shown in the text that the model wrote."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from unwrite.core.markers import fold_text, normalize_text, shows_behaviour
from unwrite.core.thinking import answer_parts


class FoundMarker(NamedTuple):
    """A marker as its list spells it, and the characters [start, stop) of the response that it covers."""

    marker: str
    start: int
    stop: int


def find_marker(text: str, markers: Sequence[str]) -> FoundMarker | None:
    """Find the first marker in a response; of several that begin at the same character, the longest.

    Args:
        text: a response; chain-of-thought blocks are no part of the answer (`answer_of`).
        markers: phrases, one or more.

    Returns:
        The marker and where it is; None exactly where `shows_behaviour` is false. A marker around a chain-of-thought
        block covers the block.

    Raises:
        ValueError: as in `shows_behaviour`.

    Example:
        >>> find_marker("Well. I’m  sorry!", ["i'm sorry"])
        FoundMarker(marker="i'm sorry", start=6, stop=16)
    """
    if not shows_behaviour(text, markers):
        return None
    characters = _normalized_characters(text)
    normal = "".join(character for character, _, _ in characters)
    found = []
    for marker in markers:
        phrase = normalize_text(marker)
        place = normal.find(phrase)
        if place >= 0:
            last = characters[place + len(phrase) - 1]
            found.append((place, -len(phrase), FoundMarker(marker, characters[place][1], last[2])))
    return min(found)[2]


def _normalized_characters(text: str) -> list[tuple[str, int, int]]:
    """Return each character of the normalized answer with the characters of the text [start, stop) it comes from."""
    mapped: list[tuple[str, int, int]] = []
    for part, (first, last) in enumerate(answer_parts(text)):
        if part:
            mapped.append((" ", first, first))  # a newline stands for each block
        for start, end in _clusters(text, first, last):
            folded, stop = fold_text(text[start:end]), end
            while stop > start and not fold_text(text[stop - 1]):
                stop -= 1  # an asterisk at the end
            mapped += [(character, start, stop) for character in folded]
    collapsed: list[tuple[str, int, int]] = []
    for character, start, stop in mapped:
        if not character.isspace():
            collapsed.append((character, start, stop))
        elif collapsed and collapsed[-1][0] != " ":
            collapsed.append((" ", start, stop))
    if collapsed and collapsed[-1][0] == " ":
        collapsed.pop()
    return collapsed


def _clusters(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the smallest stretches (start, stop) of text[first:last] that are normalized independently of each other.

    A character joins the stretch before it if it is a combining mark, if it disappears (an asterisk between a letter
    and its accent does), or if the two compose, as Hangul letters do.
    """
    start = first
    for i in range(first + 1, last):
        character = text[i]
        folded = fold_text(character)
        if not folded or unicodedata.combining(character) or unicodedata.combining(folded[0]):
            continue
        if (text[start].isascii() and character.isascii()) or not _composes(text[start:i], character):
            yield start, i
            start = i
    if start < last:
        yield start, last


def _composes(before: str, character: str) -> bool:
    return fold_text(before + character) != fold_text(before) + fold_text(character)
