"""JSON in which every key of an object occurs once: of two, readers disagree about which one counts."""

from __future__ import annotations

import json
from typing import Any

_MOST_DIGITS = 300  # a longer whole number is beyond the range of a float


class AmbiguousJson(ValueError):  # noqa: N818 - it is caught as a ValueError where any bad JSON is
    """JSON that parses, but that not every reader understands alike; the message completes "it …".

    `remedy` is a sentence to whoever writes it.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def strict_json(data: bytes | str) -> Any:
    """Parse JSON as `json.loads` does, without its leniency.

    Raises:
        AmbiguousJson: an object has a key twice, or a whole number is beyond the range of a float.
        ValueError: the text is not JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(data, object_pairs_hook=_once, parse_int=_short)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise AmbiguousJson(f"has the key {twice[:60]!r} twice in one object", "Keep one of them.")
    return values


def _short(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        digits = digits.lstrip("-")
        raise AmbiguousJson(f"has a whole number of {len(digits)} digits", "Shorten it, or write it as text.")
    return int(digits)
