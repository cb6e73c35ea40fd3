"""Describe mistakes in params.yaml: each of pydantic's errors as one line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

KeyPath = tuple[int | str, ...]  # keys and list indices from the top of the file

# The requirement on a value, by pydantic's name for the error; the braces are filled from the error's context.
_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "literal_error": "{expected}",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "dict_type": "a mapping",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
}


def describe_errors(errors: Sequence[ErrorDetails], schema: type[BaseModel]) -> list[str]:
    """Describe each mistake in one line: the key, the requirement, and the actual value.

    Args:
        errors: pydantic's errors.
        schema: the model that the file was validated against.
    """
    missing = {_place(error) for error in errors if error["type"] == "missing"}
    misspelt: set[KeyPath] = set()
    lines: dict[KeyPath, str] = {}
    for error in errors:
        place = _place(error)
        if error["type"] in {"extra_forbidden", "invalid_key"}:
            near = difflib.get_close_matches(str(place[-1]), _known_keys(schema, place[:-1]), n=1)
            hint = f"known keys: {', '.join(_known_keys(schema, place[:-1]))}."
            if near:
                meant = (*place[:-1], near[0])
                misspelt.add(meant)
                hint = f"did you mean {_dotted(meant)}?"
            lines[place] = f"unknown key {_dotted(place)}; {hint}"
        elif place not in missing:
            lines[place] = f"{_dotted(place)} {_requirement(error, schema)}, got {_actual(error)}."
        elif isinstance(item := place[-1], int):
            lines[place[:-1]] = f"{_dotted(place[:-1])} must be a list of {item + 1}, got {_actual(error)}."
        else:
            lines[place] = f"{_dotted(place)} is missing; every key must be given."
    # pydantic also reports the correct name of a misspelt key as missing, and a list with a wrong item as too short.
    for place in list(lines):
        if place in missing & misspelt or any(place == other[: len(place)] != other for other in lines):
            del lines[place]
    return list(lines.values())


def _place(error: ErrorDetails) -> KeyPath:
    # pydantic marks a key of a mapping, and the schema the form of a value that may have several.
    return tuple(part for part in error["loc"] if part not in {"[key]", "[text]", "[mapping]"})


def _requirement(error: ErrorDetails, schema: type[BaseModel]) -> str:
    if error["type"] == "value_error":  # raised by the schema itself, in this form
        return str(error["ctx"]["error"])
    if error["type"] == "model_type":
        return f"must be a mapping with {', '.join(_known_keys(schema, _place(error)))}"
    return "must be " + _EXPECTED.get(error["type"], error["msg"]).format(**error.get("ctx", {}))


def _actual(error: ErrorDetails) -> str:
    value = error["input"]
    in_quotes = error["type"] == "string_type" and not isinstance(value, (dict, tuple, type(None)))
    return f"{describe_value(value)}: put it in quotes" if in_quotes else describe_value(value)


def _known_keys(schema: type[BaseModel], place: KeyPath) -> list[str]:
    section: Any = schema
    for part in place:
        fields = getattr(section, "model_fields", None)  # none: a mapping from names to sections
        section = get_args(section)[1] if fields is None else _without_null(fields[str(part)].annotation)
    return list(section.model_fields)


def _without_null(annotation: Any) -> Any:
    """Return the section that a value may be, whatever else it may be."""
    if get_origin(annotation) not in {Union, UnionType}:
        return annotation
    forms = [get_args(one)[0] if get_origin(one) is Annotated else one for one in get_args(annotation)]
    inner = [one for one in forms if one is not NoneType and one is not str]
    return inner[0] if len(inner) == 1 else annotation


def _dotted(place: KeyPath) -> str:
    return ".".join(map(str, place))


def describe_value(value: Any) -> str:
    """Describe a value as it would be written in params.yaml."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"the list {_shortened(str(list(value)))}"
    return f"{_shortened(repr(value))} (text)" if isinstance(value, str) else _shortened(str(value))


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
