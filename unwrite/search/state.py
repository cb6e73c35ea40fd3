"""What a search has done so far, on disk: batches of trials that a killed search need not do again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.pipeline.lock import exclusive
from unwrite.search.space import parameters_of
from unwrite.search.trials import Measured, TrialOutcome

SEARCHES = Path(".unwrite/search")
RECORD = "trials.jsonl"
FORMAT = 2
_LIBRARIES = ("numpy", "optuna", "scipy", "torch", "transformers")


class State(NamedTuple):
    """A search's record, open.

    folder: Where it is.
    done: The trials in it.
    add: Adds a batch for good.
    chosen: How its trials are measured, if that was settled while it ran.
    choose: Settles it for good: what is measured in another way is rounded in another way.
    damage: What was wrong with the record, if anything.
    """

    folder: Path
    done: list[TrialOutcome]
    add: Callable[[Sequence[TrialOutcome]], None]
    chosen: str | None
    choose: Callable[[str], None]
    damage: str


def search_key(inputs: Mapping[str, Any], script: Path) -> str:
    """The name of a search: the sha256 of everything that decides its trials.

    That is its inputs, and what makes trials of them: a script with all that it imports from its own project, and the
    libraries that sample and compute. Imports are read from the sources, which takes less than a tenth of a second:
    which modules Python has loaded when it is asked depends on who asks.

    Args:
        inputs: Whatever JSON can hold.
        script: A file in a folder of the project's.
    """
    code = {path: sha256_of(script.parents[1] / path) for path in _imported(script)}
    return _digest(
        {"format": FORMAT, "code": code, "libraries": {name: version(name) for name in _LIBRARIES}, **inputs}
    )


def _imported(script: Path) -> list[str]:
    """The script and the files of its project that it imports, at the top of a module or inside a function."""
    project = script.parents[1]
    finder = ModuleFinder(path=[str(project)])
    finder.run_script(str(script))
    # typeshed lacks modulefinder.Module.__file__
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    return sorted(str(Path(file).relative_to(project)) for file in files if file)


@contextlib.contextmanager
def search_state(key: str) -> Iterator[State]:
    """Opens the record of the search `key`, under a lock.

    The record is a header and one line a batch, each with a checksum, written and synced when the batch has ended. A
    kill leaves whole batches and perhaps a part of a line. From the first line that is not as it was written, all is
    dropped: a batch follows from those before it, so running it again gives the same trials.

    Raises:
        UnwriteError: Another process is at this search, or the folder can't be written.
    """
    folder = SEARCHES / key
    with contextlib.ExitStack() as stack:
        with _os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{os.getpid()} on {socket.gethostname()}"
            stack.enter_context(exclusive("This search is already running", folder / "lock", folder / "owner", name))
            # Python's "r+" wants a file and "w" empties it: opened by hand, unbuffered, so that a line is one write.
            descriptor = os.open(folder / RECORD, os.O_RDWR | os.O_CREAT, 0o644)
            stack.callback(os.close, descriptor)
            content = (folder / RECORD).read_bytes()
            done, chosen, good = _read(content, key)
            os.ftruncate(descriptor, good)
            os.lseek(descriptor, good, os.SEEK_SET)
            if not good:
                _append(descriptor, {"format": FORMAT, "search": key})

        def add(batch: Sequence[TrialOutcome]) -> None:
            with _os_errors(folder):
                _append(descriptor, {"trials": [_as_json(outcome) for outcome in batch]})

        def choose(way: str) -> None:
            nonlocal chosen
            if way != chosen:
                with _os_errors(folder):
                    _append(descriptor, {"chosen": way})
                chosen = way

        yield State(folder, done, add, chosen, choose, _damage(folder, content, good, len(done)))


def _read(content: bytes, key: str) -> tuple[list[TrialOutcome], str | None, int]:
    """What the lines that are as they were written say, from the top; and how many bytes those are."""
    done: list[TrialOutcome] = []
    chosen: str | None = None
    good = 0
    for number, line in enumerate(content.splitlines(keepends=True)):
        try:
            entry = json.loads(line)
            checksum = entry.pop("sha256")
            if not line.endswith(b"\n") or checksum != _digest(entry):
                break
            if number == 0:
                if entry != {"format": FORMAT, "search": key}:
                    break
            elif "chosen" in entry:
                chosen = str(entry["chosen"])
            else:
                batch = [_from_json(fields) for fields in entry["trials"]]
                if [outcome.number for outcome in batch] != list(range(len(done), len(done) + len(batch))):
                    break
                done += batch
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            break
        good += len(line)
    return done, chosen, good


def _damage(folder: Path, content: bytes, good: int, kept: int) -> str:
    """A part of a line at the end is what a kill leaves; anything else that was dropped is worth a word."""
    if b"\n" not in content[good:]:
        return ""
    line = content[:good].count(b"\n") + 1
    return (
        f"{folder / RECORD} is damaged or from another version from line {line} on: "
        f"{kept} trials are kept, what came after is run again."
    )


def _append(descriptor: int, entry: dict[str, Any]) -> None:
    line = memoryview(_canonical({**entry, "sha256": _digest(entry)}) + b"\n")
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
    return TrialOutcome(**{**fields, "measured": measured, "parameters": parameters_of(fields["sampled"])})


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@contextlib.contextmanager
def _os_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnwriteError(
            f"Can't keep the search's record in {folder}: {error.strerror or error}. "
            "Make the folder writable, or make room; finished batches of trials are kept."
        ) from error
