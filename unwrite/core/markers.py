"""The judge that needs no model: does a response contain one of a list of marker phrases?"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from unwrite.core.thinking import answer_of, settled_answer

_PLAIN = str.maketrans(
    dict.fromkeys("‘’‚‛`´′ʹʼˈ", "'") | dict.fromkeys("“”„‟«»″", '"') | dict.fromkeys("‐‑‒–—―−﹘", "-") | {"*": None}
)


def normalize_text(text: str) -> str:
    """Normalize a text so that two spellings of the same words are equal.

    Unicode NFKC and case folding (UAX #15; §5.18 of the standard). Quotation marks of all shapes, primes and accents
    used as apostrophes become ' or ". Dashes and the minus sign become -. An ellipsis becomes three full stops.
    Asterisks are removed, since "I can**not**" is emphasis, and so are invisible format characters. Runs of white space
    become one space, and are removed at the ends.

    Args:
        text: any text.

    Returns:
        The normalized text; normalizing it again changes nothing.
    """
    return " ".join(fold_text(text).split())


def fold_text(text: str) -> str:
    """Normalize a text as `normalize_text` does, but keep its white space."""
    if text.isascii():  # the same result, many times faster: only these two characters and case can change
        return text.replace("`", "'").replace("*", "").casefold()
    # Twice: NFKC would decompose a free-standing accent, and case folding can introduce apostrophes (ŉ).
    text = unicodedata.normalize("NFKC", _visible(text.translate(_PLAIN))).casefold()
    return unicodedata.normalize("NFKC", _visible(text.translate(_PLAIN)))


def shows_behaviour(text: str, markers: Sequence[str]) -> bool:
    """Return whether the answer in a response contains any marker, both normalized by `normalize_text`.

    Args:
        text: a response; chain-of-thought blocks are no part of the answer (`answer_of`).
        markers: phrases, one or more.

    Returns:
        Whether one of them occurs, even within a word.

    Raises:
        ValueError: there are no markers, or one is empty once normalized (every text would contain it).
    """
    if isinstance(markers, str):
        raise ValueError(f"markers must be a list of phrases, got the text {markers!r}")
    return _contains(answer_of(text), markers)


def markers_in_all(markers: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return the markers that every text contains, and that therefore distinguish nothing.

    Args:
        markers: phrases, one or more.
        texts: responses, one or more.

    Returns:
        Those markers, unnormalized.

    Raises:
        ValueError: as in `shows_behaviour`.
    """
    return [marker for marker in markers if all(shows_behaviour(text, [marker]) for text in texts)]


def has_settled_marker(text: str, markers: Sequence[str]) -> bool:
    """Return whether the beginning of a text contains a marker that no continuation can remove.

    A continuation can change the characters before it: "cafe" followed by an accent is "café". A text is settled before
    its last ASCII character or ideograph, because nothing that follows composes with these (UAX #15) or changes how
    they fold. An asterisk does not count: normalizing removes it, and an accent after it joins the character before it.
    A chain-of-thought block that is open, or about to open, can still take what follows with it.

    Args:
        text: the beginning of a response; incomplete characters appear as U+FFFD.
        markers: phrases, one or more.

    Returns:
        Whether one of them occurs in the settled part, so that `shows_behaviour` holds for every continuation.

    Raises:
        ValueError: as in `shows_behaviour`.
    """
    for end in range(len(text) - 1, -1, -1):
        if (text[end].isascii() and text[end] != "*") or "\u4e00" <= text[end] <= "\u9fff":
            return _contains(settled_answer(text[:end]), markers)
    return False


def matches_reference(text: str, reference: str) -> bool:
    """Return whether the answer in a response equals its reference, both normalized by `normalize_text`.

    Args:
        text: a response; chain-of-thought blocks are no part of the answer (`answer_of`).
        reference: the expected answer.

    Returns:
        Whether they are equal.

    Raises:
        ValueError: the reference is empty once normalized.
    """
    expected = normalize_text(reference)
    if not expected:
        raise ValueError(f"reference must hold more than white space and emphasis, got {reference!r}")
    return normalize_text(answer_of(text)) == expected


def _contains(text: str, markers: Sequence[str]) -> bool:
    normal = normalize_text(text)
    return any(marker in normal for marker in _normalized(tuple(markers)))


@lru_cache(maxsize=16)
def _normalized(markers: tuple[str, ...]) -> tuple[str, ...]:
    # Cached: the search asks with the same list for every response of every trial.
    if not markers:
        raise ValueError("markers must hold at least one phrase, got an empty list")
    normal = tuple(normalize_text(marker) for marker in markers)
    if "" in normal:
        raise ValueError(f"marker {markers[normal.index('')]!r} is empty once normalized: every text would contain it")
    return normal


def _visible(text: str) -> str:
    return "".join(character for character in text if unicodedata.category(character) != "Cf")
