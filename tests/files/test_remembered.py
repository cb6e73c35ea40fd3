"""A file is read again only if its stat changed; what is remembered never changes a digest."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unwrite.files import remembered
from unwrite.files.hashing import digest_of
from unwrite.files.remembered import remembered_digests


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Two files that settled long ago, and a function that digests them and returns the names of those it read."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(time, "time_ns", lambda: 2**62)
    read: list[str] = []

    def digest(path: Path) -> object:
        read.append(path.name)
        return digest_of(path)

    monkeypatch.setattr(remembered, "digest_of", digest)

    def run() -> list[str]:
        read.clear()
        paths = [tmp_path / "a", tmp_path / "b"]
        assert remembered_digests(paths, tmp_path / "state/digests.json") == [digest_of(path) for path in paths]
        return list(read)

    return run


def test_only_what_changed_is_read_again(tmp_path: Path, reads: Callable[[], list[str]]) -> None:
    assert reads() == ["a", "b"]
    assert reads() == []
    (tmp_path / "b").write_text("c")  # the same size
    assert reads() == ["b"]
    assert reads() == []


def test_another_file_with_the_same_size_and_time_is_read(tmp_path: Path, reads: Callable[[], list[str]]) -> None:
    reads()
    before = (tmp_path / "a").stat()
    (tmp_path / "new").write_text("z")
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").replace(tmp_path / "a")  # as `rsync --times` does
    assert reads() == ["a"]


def test_a_file_changed_a_moment_ago_is_not_remembered(
    tmp_path: Path, reads: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = (tmp_path / "a").stat().st_ctime_ns + 1_000_000_000
    (tmp_path / "b").touch()
    monkeypatch.setattr(time, "time_ns", lambda: moment)
    assert [reads(), reads()] == [["a", "b"], ["a", "b"]]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": []}', '{"x": [1, 2]}', '{"x": 3}', "[" * 100_000])
def test_a_damaged_state_is_replaced(tmp_path: Path, reads: Callable[[], list[str]], text: str) -> None:
    reads()
    (tmp_path / "state/digests.json").write_text(text)
    assert [reads(), reads()] == [["a", "b"], []]


def test_without_a_place_to_remember_every_file_is_read(tmp_path: Path, reads: Callable[[], list[str]]) -> None:
    (tmp_path / "state").write_text("no folder")
    assert [reads(), reads()] == [["a", "b"], ["a", "b"]]
