"""Parse YAML (parameters, DVC's files, front matter of cards) as plain Python values, constructing nothing else."""

from __future__ import annotations

from typing import Any


def load_yaml(text: str) -> Any:
    """Parse one YAML 1.2 document, in which `no` is text and not false.

    Args:
        text: the document.

    Returns:
        mappings, lists, text, numbers, dates, booleans or None.

    Raises:
        ValueError: the text is not YAML; the message is one line, with the line number where one is known.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{where}{error.problem}") from None
    except (YAMLError, ValueError, RecursionError, AttributeError, TypeError) as error:
        # Python's own errors: for a date such as 2024-13-45, and a few damaged documents that crash the parser.
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(first_line) from None
