"""The rows of a prompt file, one at a time, so that a file of any size takes little memory."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unwrite.errors import UnwriteError, missing_package, reason_of
from unwrite.files.prompt_text import is_visible
from unwrite.schema.strict_json import AmbiguousJson, strict_json
from unwrite.schema.text import refuse_endless

LONGEST_PROMPT = 4_000_000
"""Characters of a prompt. No model reads more, and a file in another format often looks like one endless line."""
_MARK = "\ufeff"
_BATCH = 1000
_CHUNK = 1 << 20


class Row(NamedTuple):
    """One row: where it is, such as "x.csv, line 3", and its text or its columns by name."""

    place: str
    value: Any


class Columns(NamedTuple):
    """The columns to read: the first of `prompts` that is there, and that of the reference answers, if wanted."""

    prompts: tuple[str, ...]
    reference: str | None

    def found_in(self, there: Sequence[str], place: str) -> str:
        """Return the column of the prompts.

        Raises:
            UnwriteError: there is none; the message lists those there are.
        """
        for column in self.prompts:
            if column in there:
                return column
        listed = ", ".join(map(repr, list(there)[:20])) or "none"
        raise UnwriteError(
            f"{place} has no column {self.prompts[0]!r}; its columns: {listed}. Name one with `column` in params.yaml "
            "(or --column)."
        )

    def wanted(self, there: Sequence[str], place: str) -> list[str]:
        """Return the columns to read: that of the prompts, and that of the references if it is there.

        Raises:
            UnwriteError: as for `found_in`.
        """
        column = self.found_in(there, place)
        return [one for one in there if one in {column, self.reference}]


def file_rows(path: Path, name: str, columns: Columns, dropped: Counter[str]) -> Iterator[Row]:
    """Yield the rows of a file: .txt, .jsonl, .json, .csv, .tsv or .parquet.

    Args:
        path: the file.
        name: the file in messages.
        columns: the columns that are wanted; a row of .json or .jsonl may be the text itself.
        dropped: what is left out is counted here.

    Raises:
        UnwriteError: the file cannot be read, is of another type, damaged, or lacks the column.
    """
    readers: dict[str, Callable[[], Iterator[Row]]] = {
        ".txt": lambda: _text_rows(path, name, dropped),
        ".jsonl": lambda: _json_lines(path, name, dropped),
        ".json": lambda: _json_list(path, name),
        ".csv": lambda: _separated(path, name, ",", columns, dropped),
        ".tsv": lambda: _separated(path, name, "\t", columns, dropped),
        ".parquet": lambda: _parquet(path, name, columns),
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        known = ", ".join(list(readers)[:-1])
        raise UnwriteError(f"{name} must end in {known} or .parquet, got {path.suffix or 'no suffix'!r}.")
    try:
        refuse_endless(path)
        yield from readers[suffix]()
    except OSError as error:
        reason = error.strerror or reason_of(error)
        raise UnwriteError(f"{name} cannot be read ({reason}): check the path in params.yaml.") from None


def _lines(path: Path, name: str, dropped: Counter[str]) -> Iterator[tuple[int, str]]:
    # Split at newlines only: str.splitlines also splits at characters that JSON allows inside a string.
    before = 0
    with path.open("rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(16 * LONGEST_PROMPT), b""), 1):
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UnwriteError(
                    f"{name}, line {number} is not UTF-8 (byte {before + error.start}): save it as UTF-8."
                ) from None
            before += len(raw)
            if "\0" in line:  # UTF-16 without a mark is valid UTF-8, as far as it is ASCII
                raise UnwriteError(f"{name}, line {number} holds a NUL, as UTF-16 does: save it as UTF-8.")
            if line.startswith(_MARK):
                line = line.removeprefix(_MARK)
                dropped["byte order mark(s) from the middle of the file"] += number > 1
            yield number, line


def _text_rows(path: Path, name: str, dropped: Counter[str]) -> Iterator[Row]:
    for number, line in _lines(path, name, dropped):
        if is_visible(line):
            yield Row(f"{name}, line {number}", line.strip())
        elif line.strip():
            dropped["line(s) of invisible characters"] += 1


def _json_lines(path: Path, name: str, dropped: Counter[str]) -> Iterator[Row]:
    for number, line in _lines(path, name, dropped):
        if line.strip():
            place = f"{name}, line {number}"
            try:
                yield Row(place, strict_json(line))
            except AmbiguousJson as error:
                raise UnwriteError(f"{place}: {error}. {error.remedy}") from None
            except (json.JSONDecodeError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
                raise UnwriteError(f"{place}: not JSON ({reason}). Expected one object or text per line.") from None


def _json_list(path: Path, name: str) -> Iterator[Row]:
    """Yield the items of a JSON list, which is read piece by piece."""
    decoder, number = json.JSONDecoder(), 0
    with path.open(encoding="utf-8-sig") as file:
        try:
            text = file.read(_CHUNK).lstrip()
            if not text.startswith("["):
                raise UnwriteError(f"{name} must hold a list of texts or objects, got {text[:40]!r}. Or use .jsonl.")
            text = text[1:]
            while True:
                text = (text.lstrip() or file.read(_CHUNK).lstrip()).lstrip()
                if text.startswith("]"):
                    return
                if text.startswith(",") and number:
                    text = text[1:].lstrip()
                number += 1
                place = f"{name}, item {number}"
                end, text = _end_of_item(decoder, file.read, text, place)
                yield Row(place, _item(text[:end], place))
                text = text[end:]
        except UnicodeDecodeError:
            raise UnwriteError(f"{name} is not UTF-8 (after item {number}): save it as UTF-8.") from None


def _end_of_item(decoder: json.JSONDecoder, read: Callable[[int], str], text: str, place: str) -> tuple[int, str]:
    """Return where the first item of a text ends, and the text with as much of the file as that needed."""
    while True:
        try:
            end = decoder.raw_decode(text)[1]
        except RecursionError:
            raise UnwriteError(f"{place}: not JSON (nested too deeply).") from None
        except json.JSONDecodeError as error:
            more = read(_CHUNK + len(text))  # twice as much each time, so that a long item is not parsed often
            if not more or len(text) > 16 * LONGEST_PROMPT:
                raise UnwriteError(f"{place}: not JSON ({error.msg}). Expected a list of texts or objects.") from None
            text += more
        else:
            return end, text


def _item(text: str, place: str) -> Any:
    try:
        return strict_json(text)
    except AmbiguousJson as error:
        raise UnwriteError(f"{place}: {error}. {error.remedy}") from None


def _separated(path: Path, name: str, separator: str, columns: Columns, dropped: Counter[str]) -> Iterator[Row]:
    limit = csv.field_size_limit(16 * LONGEST_PROMPT)  # of the whole process
    reader = csv.reader((line for _, line in _lines(path, name, dropped)), delimiter=separator, strict=True)
    try:
        header = next((row for row in reader if row), [])
        columns.found_in(header, name)
        if twice := [column for column, count in Counter(header).items() if count > 1]:
            raise UnwriteError(f"{name} has the column {twice[0]!r} twice. Rename one of them.")
        for row in reader:
            if row and len(row) != len(header):
                raise UnwriteError(
                    f"{name}, line {reader.line_num} has {len(row)} fields, but its header {len(header)}: "
                    "put fields that hold the separator in quotes."
                )
            if row:
                values: dict[str, str | None] = dict(zip(header, row, strict=True))
                if columns.reference is not None and columns.reference in values:  # CSV has no null
                    values[columns.reference] = values[columns.reference] or None
                yield Row(f"{name}, line {reader.line_num}", values)
    except csv.Error as error:
        raise UnwriteError(f"{name}, line {reader.line_num} is not {path.suffix[1:].upper()} ({error}).") from None
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise missing_package(name, error) from None
    try:
        # A pre-buffered file would hold whole row groups.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            there = file.schema_arrow.names
            wanted, number = columns.wanted(there, name), 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(f"{name}, row {number}", value)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise UnwriteError(f"{name} is not a readable Parquet file ({reason_of(error)}).") from None
