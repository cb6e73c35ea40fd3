"""The record of a search: a killed and resumed search equals an uninterrupted one; damage costs only time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.driver import start_search
from tests.support.example import KEY, evaluate, settings
from unwrite.errors import UnwriteError
from unwrite.models.memory import Limits
from unwrite.schema.paths import TRIALS
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.state import RECORD, SEARCHES, search_state
from unwrite.search.study import run_study
from unwrite.search.trials import TrialOutcome, write_trials

WEIGHTS = BackendChoice(backend="weights", trials_at_once=5, limits=Limits(16384, 2048, 1 << 25))
ACTIVATIONS = BackendChoice(backend="activations", trials_at_once=5, limits=Limits(16384, 2048, 1 << 25))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def record() -> Path:
    """The record of a search of 20 trials."""
    search(20)
    return SEARCHES / KEY / RECORD


def search(trials: int, key: str = KEY) -> tuple[list[TrialOutcome], str]:
    """Search from where the record ends; also return the damage of the record."""
    section = settings(trials=trials)
    with search_state(key) as state:
        outcomes = list(state.done)
        for batch in run_study(evaluate, section, done=state.done, layers=9, positions=2):
            state.add(batch)
            outcomes += batch
        return outcomes, state.damage


def without_seconds(outcomes: list[TrialOutcome]) -> list[TrialOutcome]:
    return [outcome._replace(seconds=0) for outcome in outcomes]


def rows(path: Path) -> list[str]:
    """Return trials.csv without its last column, the seconds."""
    return [line.rpartition(",")[0] for line in path.read_text().splitlines()]


def test_added_trials_are_read_back_exactly() -> None:
    made, _ = search(20)
    with search_state(KEY) as state:
        assert state.done == made
        assert repr([o.parameters for o in state.done]) == repr([o.parameters for o in made])  # −0 too
        assert state.damage == ""
    assert {outcome.reason for outcome in made} == {"", "logits are NaN", "divergence over max_kl"}


def test_the_choice_of_a_backend_is_recorded_once() -> None:
    with search_state(KEY) as state:
        assert state.choice is None
        state.choose(WEIGHTS)
    size = (SEARCHES / KEY / RECORD).stat().st_size
    with search_state(KEY) as state:
        assert state.choice == WEIGHTS
        state.choose(WEIGHTS)
    assert (SEARCHES / KEY / RECORD).stat().st_size == size
    search(10)
    with search_state(KEY) as state:
        state.choose(ACTIVATIONS)
        assert state.choice == ACTIVATIONS
    with search_state(KEY) as state:
        assert (state.choice, len(state.done)) == (ACTIVATIONS, 10)


def test_the_state_holds_the_added_trials() -> None:
    made, _ = search(20)
    with search_state("another") as state:
        state.add(made[:5])
        state.add(made[5:10])
        assert state.done == made[:10]


def test_a_search_in_parts_equals_an_uninterrupted_one() -> None:
    for trials in (5, 10, 20):
        parts, _ = search(trials)
    whole, _ = search(20, "another")
    assert without_seconds(parts) == without_seconds(whole)


def test_a_budget_within_a_batch_changes_no_trial() -> None:
    search(7)
    parts, _ = search(20)
    whole, _ = search(20, "another")
    assert without_seconds(parts) == without_seconds(whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_search_killed_at_random_and_resumed_equals_an_uninterrupted_one(tmp_path: Path, seed: int) -> None:
    """SIGKILL can arrive between any two writes, mostly in the middle of a line of the record."""
    writes = random.Random(seed)
    endings = []
    for _ in range(5):
        process, dots = start_search(20)
        with suppress(EOFError):
            for _ in range(writes.randrange(1, 16)):
                dots.recv_bytes()
        process.kill()
        process.join()
        endings.append(process.exitcode)
    assert endings.count(-signal.SIGKILL) >= 4
    process, _ = start_search(20)
    process.join()
    assert process.exitcode == 0
    killed = rows(TRIALS)
    with search_state(KEY) as state:
        resumed = state.done
        assert state.damage == ""
    whole, _ = search(20, "another")
    assert without_seconds(resumed) == without_seconds(whole)
    write_trials(whole)
    assert rows(TRIALS) == killed
    assert len(killed) == 21


def cut(content: bytes) -> bytes:
    return content[:-40]


def cut_to_the_header(content: bytes) -> bytes:
    return content[:30]


def zeros_at_the_end(content: bytes) -> bytes:
    return content[:-40] + bytes(200)


def empty(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, cut_to_the_header, zeros_at_the_end, empty])
def test_leftovers_of_a_kill_or_a_crash_are_dropped_silently(record: Path, damage: Callable[[bytes], bytes]) -> None:
    whole, _ = search(20)
    record.write_bytes(damage(record.read_bytes()))
    again, warning = search(20)
    assert without_seconds(again) == without_seconds(whole)
    assert warning == ""


def another_digit(content: bytes) -> bytes:
    lines = content.split(b"\n")
    place = lines[2].index(b'"kl":0.') + len(b'"kl":0.')
    lines[2] = lines[2][:place] + (b"1" if lines[2][place : place + 1] != b"1" else b"2") + lines[2][place + 1 :]
    return b"\n".join(lines)


def a_line_missing(content: bytes) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join(lines[:2] + lines[3:])


def nonsense(content: bytes) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join([*lines[:2], b"\xff\xfe spilt tea", *lines[3:]])


def nested(content: bytes) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join([*lines[:2], b"[" * 100_000, *lines[3:]])


@pytest.mark.parametrize("damage", [another_digit, a_line_missing, nonsense, nested])
def test_a_damaged_record_keeps_the_lines_before_the_damage(record: Path, damage: Callable[[bytes], bytes]) -> None:
    whole, _ = search(20)
    broken = damage(record.read_bytes())
    assert broken != record.read_bytes()
    record.write_bytes(broken)
    again, warning = search(20)
    assert without_seconds(again) == without_seconds(whole)
    assert "trials.jsonl is damaged or from another version from line 3 on: 5 trials are kept, the remaining" in warning
    assert search(20)[1] == ""


@pytest.mark.parametrize("entry", [{"format": 2, "search": KEY}, {"format": 3, "search": "of another"}, ["a list"]])
def test_a_record_of_another_format_or_search_is_run_again(record: Path, entry: object) -> None:
    whole, _ = search(20)
    first, *rest = record.read_bytes().split(b"\n")
    if isinstance(entry, dict):
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        entry = {**entry, "sha256": hashlib.sha256(canonical).hexdigest()}
    record.write_bytes(b"\n".join([json.dumps(entry).encode(), *rest]))
    again, warning = search(20)
    assert without_seconds(again) == without_seconds(whole)
    assert "from line 1 on: 0 trials are kept" in warning
    assert record.read_bytes().startswith(first)


@pytest.mark.parametrize(
    "entry",
    [
        {"trials": [{"number": 5, "score": 1}]},
        {"choice": "weights 5 16384 2048 33554432"},
        {"choice": {"backend": "both", "limits": [1, 1, 1], "trials_at_once": 1}},
        {"choice": {"backend": "weights", "limits": [1, 1], "trials_at_once": 1}},
    ],
)
def test_a_line_with_unknown_fields_is_refused_although_its_checksum_is_right(
    record: Path, entry: dict[str, object]
) -> None:
    lines = record.read_bytes().split(b"\n")
    digest = hashlib.sha256(json.dumps(entry, separators=(",", ":")).encode()).hexdigest()
    lines[2] = json.dumps({**entry, "sha256": digest}).encode()
    record.write_bytes(b"\n".join(lines))
    assert "from line 3 on: 5 trials" in search(5)[1]


def test_damage_is_warned_about(record: Path, caplog: pytest.LogCaptureFixture) -> None:
    search(20)
    assert caplog.records == []
    record.write_bytes(nonsense(record.read_bytes()))
    _, damage = search(20)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", damage)]


def test_a_second_process_is_refused_with_the_first_one_named() -> None:
    with search_state(KEY), pytest.raises(UnwriteError, match=rf"already running \(process {os.getpid()} on \S+\)"):  # noqa: SIM117
        with search_state(KEY):
            pass
    search(5)


def test_another_search_is_not_locked() -> None:
    with search_state("one"), search_state("other"):
        pass


def test_a_folder_that_cannot_be_created_is_an_error() -> None:
    SEARCHES.parent.mkdir()
    SEARCHES.write_text("in the way")
    with pytest.raises(UnwriteError, match=r"^Cannot write the search's record in .*\. Make the folder writable"):
        search(5)


def test_a_full_disk_keeps_the_earlier_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = search(10)
    fsync = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwriteError, match="No space left on device"):
        search(20)
    monkeypatch.setattr(os, "fsync", fsync)
    with search_state(KEY) as state:
        assert without_seconds(state.done)[:10] == without_seconds(before)
