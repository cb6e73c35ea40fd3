"""The record of a search on disk: batches of trials that a killed search does not have to repeat."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.pipeline.lock import exclusive
from unwrite.schema.strict_json import strict_json
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.key import SEARCH_FORMAT, canonical_json, digest
from unwrite.search.space import trial_parameters
from unwrite.search.trials import Measured, TrialOutcome

logger = logging.getLogger(__name__)

SEARCHES = Path(".unwrite/search")
RECORD = "trials.jsonl"


class SearchState:
    """An open record, which grows: `add` and `choose` append to it, and appended lines survive a kill.

    Attributes:
        folder: folder of the record.
        done: the trials in it.
        choice: how its trials are measured; None until it is settled.
        damage: the damage found when the record was opened; empty if there was none.
    """

    def __init__(self, folder: Path, descriptor: int, contents: _Contents, damage: str) -> None:
        """Continue a record.

        Args:
            folder: folder of the record.
            descriptor: the record's file, open at its end.
            contents: the contents of the record.
            damage: a description of its damage, or empty.
        """
        self.folder = folder
        self.done = contents.done
        self.choice = contents.choice
        self.damage = damage
        self._descriptor = descriptor

    def add(self, batch: Sequence[TrialOutcome]) -> None:
        """Append a batch.

        Raises:
            UnwriteError: the record cannot be written.
        """
        self._append({"trials": [_as_json(outcome) for outcome in batch]})
        self.done += batch

    def choose(self, choice: BackendChoice) -> None:
        """Append how trials are measured from now on, unless the record has it already.

        Raises:
            UnwriteError: the record cannot be written.
        """
        if choice != self.choice:
            self._append({"choice": choice.model_dump(mode="json")})
            self.choice = choice

    def _append(self, entry: dict[str, Any]) -> None:
        with _readable_errors(self.folder):
            _append(self._descriptor, entry)


class _Contents(NamedTuple):
    """The contents of the intact lines of a record, and their size in bytes."""

    done: list[TrialOutcome]
    choice: BackendChoice | None
    size: int


@contextlib.contextmanager
def search_state(key: str) -> Iterator[SearchState]:
    """Open the record of the search `key`, under a lock.

    The record is a header and one line per batch, each with a checksum, written and synced when the batch has ended. A
    kill leaves complete batches and perhaps part of a line. Everything from the first damaged line on is dropped: a
    batch follows from those before it, so running it again gives the same trials.

    Raises:
        UnwriteError: another process runs this search, or the folder cannot be written.
    """
    folder = SEARCHES / key
    with contextlib.ExitStack() as stack:
        with _readable_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{os.getpid()} on {socket.gethostname()}"
            stack.enter_context(exclusive("This search is already running", folder / "lock", folder / "owner", name))
            # Python's "r+" needs an existing file and "w" empties it. Opened unbuffered, so that a line is one write.
            descriptor = os.open(folder / RECORD, os.O_RDWR | os.O_CREAT, 0o644)
            stack.callback(os.close, descriptor)
            content = (folder / RECORD).read_bytes()
            contents = _read(content, key)
            os.ftruncate(descriptor, contents.size)
            os.lseek(descriptor, contents.size, os.SEEK_SET)
            if contents.size == 0:
                _append(descriptor, {"format": SEARCH_FORMAT, "search": key})
        damage = _damage(folder, content, contents)
        if damage:
            logger.warning(damage)
        yield SearchState(folder, descriptor, contents, damage)


def _read(content: bytes, key: str) -> _Contents:
    """Return the contents of the intact lines, up to the first damaged one."""
    done: list[TrialOutcome] = []
    choice: BackendChoice | None = None
    size = 0
    for number, line in enumerate(content.splitlines(keepends=True)):
        try:
            entry = _parse_line(line)
            if number == 0:
                _check_header(entry, key)
            elif "choice" in entry:
                choice = BackendChoice.model_validate(entry["choice"])
            else:
                done += _parse_batch(entry, len(done))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            break
        size += len(line)
    return _Contents(done, choice, size)


def _parse_line(line: bytes) -> dict[str, Any]:
    """Return the entry of a line without its checksum.

    Raises:
        ValueError: the line is incomplete, or its checksum is wrong.
    """
    entry: dict[str, Any] = strict_json(line)
    checksum = entry.pop("sha256")
    if not line.endswith(b"\n") or checksum != digest(entry):
        raise ValueError("damaged line")
    return entry


def _check_header(entry: dict[str, Any], key: str) -> None:
    if entry != {"format": SEARCH_FORMAT, "search": key}:
        raise ValueError("record of another search")


def _parse_batch(entry: dict[str, Any], first: int) -> list[TrialOutcome]:
    """Return a batch, whose trials must be numbered from `first`."""
    batch = [_from_json(fields) for fields in entry["trials"]]
    if [outcome.number for outcome in batch] != list(range(first, first + len(batch))):
        raise ValueError("a batch is missing")
    return batch


def _damage(folder: Path, content: bytes, contents: _Contents) -> str:
    """Describe the dropped part; an incomplete last line is normal after a kill, so it gives no message."""
    if b"\n" not in content[contents.size :]:
        return ""
    line = content[: contents.size].count(b"\n") + 1
    return (
        f"{folder / RECORD} is damaged or from another version from line {line} on: "
        f"{len(contents.done)} trials are kept, the remaining trials are run again."
    )


def _append(descriptor: int, entry: dict[str, Any]) -> None:
    line = memoryview(canonical_json({**entry, "sha256": digest(entry)}) + b"\n")
    while line:
        line = line[os.write(descriptor, line) :]
    os.fsync(descriptor)


def _as_json(outcome: TrialOutcome) -> dict[str, Any]:
    measured = None if outcome.measured is None else outcome.measured._asdict()
    return {
        "number": outcome.number,
        "sampled": dict(outcome.sampled),
        "measured": measured,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
    }


def _from_json(fields: dict[str, Any]) -> TrialOutcome:
    measured = None if fields["measured"] is None else Measured(**fields["measured"])
    return TrialOutcome(**{**fields, "measured": measured, "parameters": trial_parameters(fields["sampled"])})


@contextlib.contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnwriteError(
            f"Cannot write the search's record in {folder}: {error.strerror or error}. "
            "Make the folder writable or free disk space; finished batches of trials are kept."
        ) from error
