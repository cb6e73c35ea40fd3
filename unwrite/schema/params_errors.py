"""Mistakes in params.yaml, in words: pydantic's errors as one line each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

KeyPath = tuple[int | str, ...]  # keys and list indices from the top of the file

# What is allowed, by pydantic's name of the error; the braces are filled from the error's context.
_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "literal_error": "{expected}",
    "tuple_type": "a list",
    "too_short": "at least {min_length} in the list",
    "too_long": "at most {max_length} in the list",
    "dict_type": "a mapping",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number under {lt}",
    "less_than_equal": "a number of at most {le}",
}


def describe_errors(errors: Sequence[ErrorDetails], schema: type[BaseModel]) -> list[str]:
    """One line a mistake: where it is, what came, what is allowed and, for an unknown key, the nearest known one.

    Args:
        errors: What pydantic found.
        schema: The model it validated against.
    """
    missing = {error["loc"] for error in errors if error["type"] == "missing"}
    misspelt: set[KeyPath] = set()
    lines: dict[KeyPath, str] = {}
    for error in errors:
        place = tuple(part for part in error["loc"] if part != "[key]")
        if error["type"] in {"extra_forbidden", "invalid_key"}:
            near = difflib.get_close_matches(str(place[-1]), _known_keys(schema, place[:-1]), n=1)
            hint = f"known keys: {', '.join(_known_keys(schema, place[:-1]))}."
            if near:
                meant = (*place[:-1], near[0])
                misspelt.add(meant)
                hint = f"did you mean {_dotted(meant)}?"
            lines[place] = f"unknown key {_dotted(place)}; {hint}"
        elif place not in missing:
            lines[place] = f"{_dotted(place)} is {describe_value(error['input'])}; {_expectation(error, schema)}."
        elif isinstance(item := place[-1], int):
            lines[place[:-1]] = (
                f"{_dotted(place[:-1])} is {describe_value(error['input'])}; expected {item + 1} in the list."
            )
        else:
            lines[place] = f"{_dotted(place)} is missing; every key must be given."
    # pydantic also calls the right name of a misspelt key missing, and a list with a wrong item too short.
    for place in list(lines):
        if place in missing & misspelt or any(place == other[: len(place)] != other for other in lines):
            del lines[place]
    return list(lines.values())


def _expectation(error: ErrorDetails, schema: type[BaseModel]) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "model_type":
        return f"expected a mapping with {', '.join(_known_keys(schema, error['loc']))}"
    expected = "expected " + _EXPECTED.get(error["type"], error["msg"]).format(**error.get("ctx", {}))
    in_quotes = error["type"] == "string_type" and not isinstance(error["input"], (dict, tuple, type(None)))
    return f"{expected}: put it in quotes" if in_quotes else expected


def _known_keys(schema: type[BaseModel], place: KeyPath) -> list[str]:
    section: Any = schema
    for part in place:
        section = section.model_fields[str(part)].annotation
    return list(section.model_fields)


def _dotted(place: KeyPath) -> str:
    return ".".join(map(str, place))


def describe_value(value: Any) -> str:
    """A value as a person would name it."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"the list {_shortened(str(list(value)))}"
    return f"{_shortened(repr(value))} (text)" if isinstance(value, str) else _shortened(str(value))


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
