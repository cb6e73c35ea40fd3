"""What counts as text, as visible text, and as the same text again."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b
from typing import TypeGuard

_BLANKS = "\u115f\u1160\u2800\u3164\uffa0\ufe0e\ufe0f"
"""Characters without ink that Unicode counts among letters, symbols and marks."""


def is_visible(text: str) -> bool:
    """Return whether a text has a character with ink."""
    return any(unicodedata.category(c)[0] not in "CZ" and c not in _BLANKS and not c.isspace() for c in text)


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a value is text that can be written as UTF-8; JSON can escape half a surrogate pair."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def folded(text: str) -> str:
    """Return a text without what people hardly see: case, white space, Unicode form and width, invisible signs."""
    if text.isascii():
        return " ".join(text.casefold().split())
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())


def fingerprint(*texts: str | None) -> bytes:
    """Return 16 bytes that are equal for texts that people see as the same, and differ otherwise.

    Args:
        texts: texts in order, such as the turns of a conversation; None is no text, which differs from an empty one.
    """
    parts = ("" if text is None else f"{folded(text)}\x1e" for text in texts)
    return blake2b("\x1f".join(parts).encode(), digest_size=16).digest()
