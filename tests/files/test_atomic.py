"""Files and folders appear whole or not at all, whatever ends the writing: an error, a full disk, SIGKILL."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files import atomic
from unwrite.files.atomic import atomic_file, atomic_folder, check_free_space, copy_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(script: str, folder: Path) -> int:
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, check=False, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def old_folder(path: Path) -> Path:
    path.mkdir()
    (path / "a").write_text("old a")
    (path / "b").write_text("old b")
    return path


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


OLD = {"a": "old a", "b": "old b"}


def fail_in_file(path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def fail_in_folder(path: Path) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("half")
        raise ZeroDivisionError


def test_a_file_appears_whole_with_its_parent_folders(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "deep" / "er" / "x") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "deep" / "er" / "x").exists()
    assert contents(tmp_path / "deep" / "er") == {"x": "new"}


def test_a_failed_write_leaves_neither_final_nor_temporary_name(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_in_file(tmp_path / "x")
    assert names(tmp_path) == []


def test_an_existing_file_survives_a_failed_overwrite(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail_in_file(tmp_path / "x")
    assert contents(tmp_path) == {"x": "old"}


def test_data_is_synced_before_the_name_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []
    monkeypatch.setattr(atomic, "_sync", lambda path: synced.append((path.name, (tmp_path / "x").exists())))
    with atomic_file(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert synced == [(temporary.name, False), (tmp_path.name, True)]


FULL = """
import resource
from pathlib import Path
from unwrite.errors import UnwriteError
from unwrite.files.atomic import {manager}
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # Python ignores the signal, so writing on gives EFBIG
try:
    with {manager}(Path("x")) as temporary:
        {target}.write_bytes(bytes(100_000))
except UnwriteError as error:
    assert str(error).startswith("Cannot write x: File too large. Free some space ("), error
    assert str(error).count(chr(10)) == 0
    raise SystemExit(7)
"""


def test_a_file_that_does_not_fit_is_an_expected_error_and_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    assert run(FULL.format(manager="atomic_file", target="temporary"), tmp_path) == 7
    assert contents(tmp_path) == {"x": "old"}


def test_a_folder_that_does_not_fit_is_an_expected_error_and_leaves_the_old_one(tmp_path: Path) -> None:
    old_folder(tmp_path / "x")
    assert run(FULL.format(manager="atomic_folder", target="(temporary / 'a')"), tmp_path) == 7
    assert names(tmp_path) == ["x"]
    assert contents(tmp_path / "x") == OLD


def test_a_full_disk_while_syncing_names_the_path_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwriteError) as caught, atomic_file(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert str(caught.value).startswith(f"Cannot write {tmp_path / 'x'}: No space left on device. Free some space (")
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_an_expected_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwriteError, match=r"Cannot write .*x: "), atomic_file(tmp_path / "file" / "x"):
        pass
    with pytest.raises(UnwriteError, match=r"Cannot write .*x: "), atomic_folder(tmp_path / "file" / "x"):
        pass


def test_a_folder_in_place_of_the_file_is_an_expected_error(tmp_path: Path) -> None:
    old_folder(tmp_path / "x")
    with pytest.raises(UnwriteError, match=r"Cannot write .*x: "), atomic_file(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["x"]
    assert contents(tmp_path / "x") == OLD


def test_a_missing_input_inside_the_context_is_not_reported_as_a_failure_to_write(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "x"):
        (tmp_path / "input").read_text()
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "x"):
        (tmp_path / "input").read_text()
    assert names(tmp_path) == []


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    old_folder(tmp_path / "x")
    with atomic_folder(tmp_path / "x") as temporary:
        (temporary / "b").write_text("new b")
        (temporary / "c").mkdir()
        (temporary / "c" / "d").write_text("new d")
        assert contents(tmp_path / "x") == OLD
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["b", "c"]
    assert (tmp_path / "x" / "c" / "d").read_text() == "new d"


def test_a_folder_appears_with_its_parent_folders(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "deep" / "x") as temporary:
        (temporary / "a").write_text("new")
    assert contents(tmp_path / "deep" / "x") == {"a": "new"}


def test_a_failed_folder_leaves_the_old_one_and_no_temporary_name(tmp_path: Path) -> None:
    old_folder(tmp_path / "x")
    with pytest.raises(ZeroDivisionError):
        fail_in_folder(tmp_path / "x")
    assert names(tmp_path) == ["x"]
    assert contents(tmp_path / "x") == OLD


def test_the_old_folder_is_restored_if_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_folder(tmp_path / "x")
    rename = Path.rename

    def refuses_the_new_one(self: Path, target: Path) -> Path:
        if self.name == ".x.tmp":
            raise OSError(errno.EIO, "broken")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses_the_new_one)
    with pytest.raises(UnwriteError, match="broken"), atomic_folder(tmp_path / "x") as temporary:
        (temporary / "a").write_text("new")
    assert names(tmp_path) == ["x"]
    assert contents(tmp_path / "x") == OLD


KILLED = """
import os, signal
from pathlib import Path
from unwrite.files.atomic import {manager}
{before}
with {manager}(Path("x")) as temporary:
    {target}.write_text("half")
    {inside}
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def test_a_kill_while_writing_leaves_the_old_file_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    script = KILLED.format(manager="atomic_file", target="temporary", before="", inside=KILL)
    assert run(script, tmp_path) == -signal.SIGKILL
    assert (tmp_path / "x").read_text() == "old"
    with atomic_file(tmp_path / "x") as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == {"x": "new"}


def test_a_kill_while_writing_leaves_the_old_folder_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    old_folder(tmp_path / "x")
    script = KILLED.format(manager="atomic_folder", target="(temporary / 'half')", before="", inside=KILL)
    assert run(script, tmp_path) == -signal.SIGKILL
    assert contents(tmp_path / "x") == OLD
    with atomic_folder(tmp_path / "x") as temporary:
        (temporary / "a").write_text("new")
    assert names(tmp_path) == ["x"]
    assert contents(tmp_path / "x") == {"a": "new"}


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    old_folder(tmp_path / "x")
    before = f"""
rename = Path.rename
def killed(self, target):
    if self.name == ".x.tmp":
        {KILL}
    return rename(self, target)
Path.rename = killed
"""
    script = KILLED.format(manager="atomic_folder", target="(temporary / 'a')", before=before, inside="pass")
    assert run(script, tmp_path) == -signal.SIGKILL
    assert not (tmp_path / "x").exists()
    with pytest.raises(ZeroDivisionError):
        fail_in_folder(tmp_path / "x")
    assert names(tmp_path) == ["x"]
    assert contents(tmp_path / "x") == OLD


def test_a_full_disk_is_refused_before_the_work(tmp_path: Path) -> None:
    check_free_space(tmp_path / "not" / "yet" / "there", 1)
    with pytest.raises(UnwriteError, match=r"x needs \d{9} MB but only \d+ MB are free: free some space"):
        check_free_space(tmp_path / "x", 10**14 * 9)


DATA = bytes(range(256)) * 500


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(DATA)
    return tmp_path / "source"


def test_a_copy_is_equal_and_independent(source: Path, tmp_path: Path) -> None:
    copy_file(source, tmp_path / "target")
    (tmp_path / "target").open("r+b").close()
    assert (tmp_path / "target").read_bytes() == DATA
    (tmp_path / "target").write_bytes(b"changed")
    assert source.read_bytes() == DATA


def test_an_empty_file_can_be_copied(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    copy_file(tmp_path / "empty", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b""


def test_the_copy_of_a_link_holds_the_content_of_its_target(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("source")
    copy_file(tmp_path / "link", tmp_path / "target")
    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "target").read_bytes() == DATA


def test_a_file_can_be_copied_in_several_pieces(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def a_little(reader: int, writer: int, count: int) -> int:
        return os.write(writer, os.read(reader, min(count, 1000)))

    monkeypatch.setattr(os, "copy_file_range", a_little, raising=False)
    monkeypatch.setattr(shutil, "copyfile", None)
    copy_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA


@pytest.mark.parametrize("code", ["EXDEV", "ENOSYS", "EOPNOTSUPP", "EINVAL", "EPERM"])
def test_a_copy_falls_back_if_the_kernel_refuses(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(*_: int) -> int:
        raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    copy_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA


def test_a_copy_falls_back_if_the_system_lacks_the_call(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    copy_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA


def test_a_copy_falls_back_if_the_kernel_copies_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0, raising=False)
    copy_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA


@pytest.mark.parametrize("code", ["ENOSPC", "EIO", "EDQUOT"])
def test_a_full_disk_does_not_trigger_the_fallback(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def full(*_: int) -> int:
        raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(os, "copy_file_range", full, raising=False)
    with pytest.raises(OSError, match=code) as caught:
        copy_file(source, tmp_path / "target")
    assert caught.value.errno == getattr(errno, code)


def test_a_source_that_shrinks_during_the_copy_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shrinks(reader: int, writer: int, count: int) -> int:
        copied = os.write(writer, os.read(reader, count))
        os.truncate(source, 10)
        return copied

    monkeypatch.setattr(os, "copy_file_range", shrinks, raising=False)
    with pytest.raises(UnwriteError, match="source changed while it was copied"):
        copy_file(source, tmp_path / "target")


def test_copying_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "missing", tmp_path / "target")
