"""Parse a record from JSON; another format is refused with its number, a damaged record with its first error."""

from __future__ import annotations

import json
import re
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from unwrite.errors import UnwriteError
from unwrite.schema.strict_json import AmbiguousJson, strict_json

M = TypeVar("M", bound=BaseModel)

FORMAT: Final = 2
"""The format version of every record that is written. It changes when a field changes its name or meaning."""

_READERS = {1: "0.1"}  # the version of unwrite that reads each earlier format


def parse_record(model: type[M], data: bytes, name: str) -> M:
    """Parse JSON into a record.

    Args:
        model: type of the record.
        data: the JSON text.
        name: file name shown in errors.

    Raises:
        UnwriteError: the record has another format, is damaged, has a value of another type, or has a key twice.
    """
    _refuse_ambiguous(data, name)
    try:
        return model.model_validate_json(data, strict=True)  # "1", 1.0 and true are no whole number
    except ValidationError as error:
        refuse_other_format(_format_of(data), name)
        record_name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__).lower()
        raise UnwriteError(f"{name} is not a valid {record_name} ({first_error(error)})") from None


def first_error(error: ValidationError) -> str:
    """Return the first of pydantic's errors in one line: where it is, and what is wrong."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return f"{where}: {first['msg']}"


def refuse_other_format(actual: int | None, name: str) -> None:
    """Refuse a record of another format, naming the version of unwrite that reads it.

    Raises:
        UnwriteError: `actual` is not None, and not the format that this version reads.
    """
    if actual is None or actual == FORMAT:
        return
    reader = f"unwrite {_READERS[actual]}" if actual in _READERS else "a newer unwrite"
    raise UnwriteError(f"{name} has format {actual}, which {reader} reads; this version reads format {FORMAT}")


def _refuse_ambiguous(data: bytes, name: str) -> None:
    try:
        strict_json(data)
    except AmbiguousJson as error:
        raise UnwriteError(f"{name} {error}") from None
    except (ValueError, RecursionError):
        pass  # pydantic says where it is damaged


def _format_of(data: bytes) -> int | None:
    try:
        value = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if type(value) is int else None
