"""Parse YAML (parameters, DVC's files, front matter of cards) as plain Python values, constructing nothing else."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

_DEEPEST = 50
_MOST = 1_000_000


def load_yaml(text: str) -> Any:
    """Parse one YAML 1.2 document, in which `no` is text and not false.

    Publishing and verifying read the same files several times, and parsing one takes up to a fifth of a second, so the
    last few are remembered.

    Args:
        text: the document.

    Returns:
        mappings, lists, text, numbers, dates, booleans or None.

    Raises:
        ValueError: the text is not YAML; the message is one line, with the line number where one is known.
    """
    return copy.deepcopy(_parsed(text))  # whose values the caller may change


@lru_cache(maxsize=16)
def _parsed(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        value = YAML(typ="safe", pure=True).load(text)
        _expanded_size(value, 0, {})
        return value
    except MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{where}{error.problem}") from None
    except (YAMLError, ValueError, RecursionError, AttributeError, TypeError) as error:
        # Python's own errors: for a date such as 2024-13-45, and a few damaged documents that crash the parser.
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(first_line) from None


def _expanded_size(value: Any, depth: int, known: dict[int, int]) -> int:
    """Return how many values there are once every alias stands for a copy, counting each shared value once.

    Raises:
        ValueError: they are too many, which a few lines of aliases can be, or nested too deeply.
    """
    if depth > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} levels deep")
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        children = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_expanded_size(child, depth + 1, known) for child in children)
    if known[id(value)] > _MOST:
        raise ValueError(f"its aliases (*name) stand for more than {_MOST} values")
    return known[id(value)]
