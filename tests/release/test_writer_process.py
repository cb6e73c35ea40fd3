"""The writers that another process finds are those that this one finds; failing that, they are found here."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.support.releases import Release, failed
from unwrite.release import writer_process
from unwrite.release.verify import verify_release
from unwrite.release.writer_checks import FoundWriters, find_base_writers
from unwrite.release.writer_process import print_writers, writers_process


@pytest.fixture
def for_small_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_process, "_WORTH_A_PROCESS", 0)
    monkeypatch.setattr(writer_process, "processors", lambda: 2)


@pytest.mark.usefixtures("for_small_bases")
def test_another_process_finds_the_same_writers(release: Release) -> None:
    with writers_process(release.base) as find_writers:
        assert find_writers is not None
        found = find_writers(release.base)
    assert isinstance(found, FoundWriters)
    assert found == find_base_writers(release.base)
    assert len(found.writers) > 0
    assert failed(verify_release(release.folder, release.base, find_writers=lambda _: found)) == {}
    none = found._replace(writers=[])
    assert "residual writers" in failed(verify_release(release.folder, release.base, find_writers=lambda _: none))


@pytest.mark.usefixtures("for_small_bases")
def test_a_reason_is_the_same_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "none of them"}')
    with writers_process(tmp_path) as find_writers:
        assert find_writers is not None
        assert find_writers(tmp_path) == find_base_writers(tmp_path)


@pytest.mark.usefixtures("for_small_bases")
def test_the_process_ends_with_the_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def record(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "import sys; sys.stdin = open(0); import time; time.sleep(1e6)"]))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", record)
    with pytest.raises(KeyError), writers_process(tmp_path):
        raise KeyError
    assert started[0].returncode not in {None, 0}


@pytest.mark.usefixtures("for_small_bases")
def test_writers_are_found_here_if_the_process_fails(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with writers_process(release.base) as find_writers:
        assert find_writers is not None
        assert find_writers(release.base) == find_base_writers(release.base)


def test_no_process_is_started_where_it_would_not_pay(release: Release, tmp_path: Path) -> None:
    for base in (None, release.base, tmp_path / "missing"):
        with writers_process(base) as find_writers:
            assert find_writers is None


def test_the_result_is_printed_as_json(release: Release) -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        print_writers(release.base)
    found = find_base_writers(release.base)
    assert not isinstance(found, str)
    assert len(json.loads(printed.getvalue())["writers"]) == len(found.writers)
