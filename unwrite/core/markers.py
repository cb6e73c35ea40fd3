"""The judge that needs no model: does a response hold one of a list of marker phrases?"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_PLAIN = str.maketrans(
    dict.fromkeys("‘’‚‛`´′ʹʼˈ", "'") | dict.fromkeys("“”„‟«»″", '"') | dict.fromkeys("‐‑‒–—―−﹘", "-") | {"*": None}
)


def normalize_text(text: str) -> str:
    """Write a text so that two spellings of the same words are equal.

    Unicode NFKC and case folding (UAX #15; §5.18 of the standard). Quotation marks of all shapes, primes and accents
    used as apostrophes become ' or ". Dashes and the minus sign become -. An ellipsis becomes three full stops.
    Asterisks go, since "I can**not**" is emphasis, and so do invisible format characters. White space becomes single
    blanks, none at the ends.

    Args:
        text: any text.

    Returns:
        The normalized text; normalizing it again changes nothing.
    """
    if text.isascii():  # the same, many times faster: of all this, only these two characters and case are left
        return " ".join(text.replace("`", "'").replace("*", "").casefold().split())
    # Twice: NFKC would take a free-standing accent apart, and case folding can bring new apostrophes (ŉ).
    text = unicodedata.normalize("NFKC", _visible(text.translate(_PLAIN))).casefold()
    text = unicodedata.normalize("NFKC", _visible(text.translate(_PLAIN)))
    return " ".join(text.split())


def shows_behaviour(text: str, markers: Sequence[str]) -> bool:
    """Whether any marker is a part of the text, both normalized by `normalize_text`.

    Args:
        text: a response.
        markers: phrases, one or more.

    Returns:
        True if one of them occurs, within a word too.

    Raises:
        ValueError: no markers, or one that is empty once normalized (it would be part of every text).
    """
    if isinstance(markers, str):
        raise ValueError(f"markers must be a list of phrases, got the text {markers!r}")
    normal = normalize_text(text)
    return any(marker in normal for marker in _normalized(tuple(markers)))


def markers_in_all(markers: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return the markers that every text contains, which therefore separate nothing.

    Args:
        markers: phrases, one or more.
        texts: responses, one or more.

    Returns:
        Those markers, as they came.

    Raises:
        ValueError: as `shows_behaviour`.
    """
    return [marker for marker in markers if all(shows_behaviour(text, [marker]) for text in texts)]


def shows_for_good(text: str, markers: Sequence[str]) -> bool:
    """Whether any marker is in the text already, whatever is written after it.

    What comes next can change what is there: "cafe" and an accent are "café". Before its last ASCII character or
    ideograph a text is settled, because nothing composes with these from behind (UAX #15) or changes how they fold.
    An asterisk doesn't count: normalizing takes it out, and an accent after it joins what was before.

    Args:
        text: the beginning of a response; characters that are not whole yet appear as U+FFFD.
        markers: phrases, one or more.

    Returns:
        True if one of them occurs in the settled part, so that `shows_behaviour` holds of every continuation.

    Raises:
        ValueError: as `shows_behaviour`.
    """
    for place in range(len(text) - 1, -1, -1):
        if (text[place].isascii() and text[place] != "*") or "\u4e00" <= text[place] <= "\u9fff":
            return shows_behaviour(text[:place], markers)
    return False


def matches_reference(text: str, reference: str) -> bool:
    """Whether a response is its reference answer: equal once both are normalized by `normalize_text`.

    Args:
        text: a response.
        reference: the answer that was expected.

    Returns:
        True if they are equal.

    Raises:
        ValueError: the reference is empty once normalized.
    """
    expected = normalize_text(reference)
    if not expected:
        raise ValueError(f"reference must hold more than white space and emphasis, got {reference!r}")
    return normalize_text(text) == expected


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
