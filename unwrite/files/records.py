"""JSON, JSON lines and CSV: read with clear errors, written whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_file
from unwrite.schema.text import read_text


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain newlines."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented, in the order given. NaN and infinity are refused: they are not JSON.

    Raises:
        ValueError: the value holds NaN or infinity.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_jsonl(path: Path, required: Sequence[str]) -> list[dict[str, Any]]:
    """Read one JSON object per line; each must have the `required` keys. Empty lines are skipped.

    Raises:
        UnwriteError: the file is missing, not UTF-8, or a line is not such an object; the line is named.
    """
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
            raise UnwriteError(f"{path}, line {number}: not JSON ({reason}). Expected one object a line.") from None
        if not isinstance(row, dict) or not row.keys() >= set(required):
            keys = " and ".join(f'"{key}"' for key in required)
            raise UnwriteError(f"{path}, line {number}: expected an object with {keys}, got {line[:60]!r}.")
        rows.append(row)
    return rows


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file that params.yaml names or the pipeline makes.

    Raises:
        UnwriteError: as `read_text`.
    """
    text = read_text(path, "check the path in params.yaml, or run `dvc repro` if the pipeline makes it")
    # Split at newlines only: str.splitlines would also cut at characters that JSON allows inside a string.
    return text.split("\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file; floats have full precision, so reading them back gives the same values."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file, each by column name.

    Raises:
        UnwriteError: the file is missing, not UTF-8, or a row has more or fewer fields than the header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except FileNotFoundError:
        raise UnwriteError(f"{path} is missing: run `dvc repro` first.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnwriteError(f"{path} is damaged ({error}): run the stage that makes it again, `dvc repro -f`.") from None
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise UnwriteError(
                f"{path} is damaged (row {number} has {len(row)} fields, its header {len(header)}): "
                "run the stage that makes it again, `dvc repro -f`."
            )
    return [dict(zip(header, row, strict=True)) for row in rows]
