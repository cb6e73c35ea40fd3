"""JSON, JSON lines and CSV: read with clear errors, written whole or not at all."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_file
from unwrite.schema.strict_json import AmbiguousJson, strict_json
from unwrite.schema.text import read_text

logger = logging.getLogger(__name__)

_MARK = "\ufeff"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain newlines."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented, with keys in their order.

    Raises:
        ValueError: the value holds NaN or infinity, which are not JSON.
    """
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return the text that `write_json` writes; errors as there."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def read_jsonl(path: Path, required: Sequence[str]) -> list[dict[str, Any]]:
    """Read one JSON object per line; each must have the `required` keys. Empty lines are skipped.

    Raises:
        UnwriteError: the file is missing or not UTF-8, or a line is not such an object or has a key twice; the message
            names the line.
    """
    return [row for _, row in read_numbered_jsonl(path, required)]


def read_numbered_jsonl(path: Path, required: Sequence[str]) -> list[tuple[int, dict[str, Any]]]:
    """Read JSON lines as `read_jsonl` does, each with the number of its line; errors as there."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = strict_json(line)
        except AmbiguousJson as error:
            raise UnwriteError(f"{path}, line {number}: {error}. {error.remedy}") from None
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise UnwriteError(f"{path}, line {number}: not JSON ({reason}). Expected one object per line.") from None
        if not isinstance(row, dict) or not row.keys() >= set(required):
            keys = " and ".join(f'"{key}"' for key in required)
            raise UnwriteError(f"{path}, line {number}: expected an object with {keys}, got {line[:60]!r}.")
        rows.append((number, row))
    return rows


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file that params.yaml names or the pipeline writes.

    A byte order mark before a line is dropped: joining files puts one in the middle.

    Raises:
        UnwriteError: as in `read_text`.
    """
    text = read_text(path, "check the path in params.yaml, or run `dvc repro` if the pipeline writes it")
    # Split at newlines only: str.splitlines also splits at characters that JSON allows inside a string.
    lines = text.split("\n")
    if marked := sum(line.startswith(_MARK) for line in lines):
        logger.info(f"{path}: dropped {marked} byte order mark(s) from the middle of the file.")
    return [line.removeprefix(_MARK) for line in lines]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file; floats have full precision, so they are read back unchanged."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file, each as a mapping from column names.

    Raises:
        UnwriteError: the file is missing or not UTF-8, or a row has more or fewer fields than the header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except FileNotFoundError:
        raise UnwriteError(f"{path} is missing: run `dvc repro` first.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnwriteError(f"{path} is damaged ({error}): rerun the stage that writes it (`dvc repro -f`).") from None
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise UnwriteError(
                f"{path} is damaged (row {number} has {len(row)} fields, but its header {len(header)}): "
                "rerun the stage that writes it (`dvc repro -f`)."
            )
    return [dict(zip(header, row, strict=True)) for row in rows]
