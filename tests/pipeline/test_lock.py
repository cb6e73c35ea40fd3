"""A lock excludes a second holder, names the first, and is free again afterwards, whatever happened."""

import os
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.pipeline.lock import LOCKS, exclusive, exclusive_run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_second_run_with_the_same_name_is_refused_and_the_first_one_is_named() -> None:
    expected = rf"^publish is already running in this folder \(process {os.getpid()}\): wait for it to end, or stop it"
    with exclusive_run("publish"), pytest.raises(UnwriteError, match=expected), exclusive_run("publish"):
        pass


def test_run_with_another_name_is_allowed() -> None:
    with exclusive_run("publish"), exclusive_run("audit"):
        assert {path.name for path in LOCKS.iterdir()} >= {"publish.lock", "audit.lock"}


def test_the_lock_is_free_after_the_end() -> None:
    for _ in range(2):
        with exclusive_run("publish"):
            pass


def test_the_lock_is_free_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), exclusive_run("publish"):
        raise ZeroDivisionError
    with exclusive_run("publish"):
        pass


def test_holder_is_reported_by_the_name_it_gave() -> None:
    lock, owner = Path("lock"), Path("owner")
    with (
        exclusive("Searching already", lock, owner, "7 on teapot"),
        pytest.raises(UnwriteError, match=r"^Searching already \(process 7 on teapot\)"),
        exclusive("Searching already", lock, owner, "8"),
    ):
        pass


def test_a_holder_without_a_name_is_reported_as_just_started() -> None:
    lock, owner = Path("lock"), Path("owner")
    with exclusive("Searching already", lock, owner, "7"):
        owner.unlink()
        with (
            pytest.raises(UnwriteError, match=r"\(process just started\)"),
            exclusive("Searching already", lock, owner, "8"),
        ):
            pass
