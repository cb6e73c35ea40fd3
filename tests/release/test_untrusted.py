"""Nothing of what strangers send leads out of its folder, hangs the reader, or commands the terminal."""

import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.releases import Release, failed, verified
from unwrite.errors import UnwriteError
from unwrite.release.untrusted import (
    is_plain_file,
    is_plain_name,
    leads_out,
    printable,
    refuse_endless_files,
    unreadable_files_told,
)
from unwrite.release.verify import verify_release


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/a", "..\\a", "a\0b", "a\nb", "\x1b[8m", "x" * 256, "é" * 128, "\udcff"]
)
def test_other_names_are_not_plain(name: str, tmp_path: Path) -> None:
    assert not is_plain_name(name)
    assert not is_plain_file(tmp_path, name)


@pytest.mark.parametrize(
    "name", ["config.json", "model-00001-of-00002.safetensors", ".gitattributes", "größe", "x" * 255]
)
def test_plain_names_are_accepted(name: str, tmp_path: Path) -> None:
    assert is_plain_name(name)
    assert not is_plain_file(tmp_path, name)
    (tmp_path / name).write_text("")
    assert is_plain_file(tmp_path, name)


def test_folder_and_pipe_are_not_plain_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert not is_plain_file(tmp_path, "folder")
    assert not is_plain_file(tmp_path, "pipe")


def test_only_links_that_lead_out_are_found(tmp_path: Path) -> None:
    folder, blobs = tmp_path / "cache/snapshots/0123", tmp_path / "cache/blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    for path in (folder / "here", blobs / "there", tmp_path / "out"):
        path.write_text("")
    for name, target, out in (
        ("a", "here", False),
        ("b", "../../blobs/there", False),
        ("c", "../../../out", True),
        ("d", "d", True),
        ("e", "nowhere", True),
    ):
        (folder / name).symlink_to(target)
        assert leads_out(folder, folder / name) is out, name


@given(st.text(st.characters(exclude_categories=[])))
def test_printable_text_has_no_control_codes(text: str) -> None:
    shown = printable(text)
    assert all(c.isprintable() or c == "\n" for c in shown)
    shown.encode()
    assert printable(shown) == shown


def test_printable_text_is_unchanged() -> None:
    assert printable("λ = 0.8 – größe\n\x1b[8m") == "λ = 0.8 – größe\n\\x1b[8m"


@pytest.mark.parametrize("name", ["evaluation.json", "edit.json", "README.md", "extra.bin"])
@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/mem", "/proc/self/pagemap"])
def test_links_to_what_has_no_end_are_refused_unread(name: str, target: str, release: Release) -> None:
    if not Path(target).exists():
        pytest.skip(f"this system has no {target}")
    (release.folder / name).unlink(missing_ok=True)
    (release.folder / name).symlink_to(target)
    with pytest.raises(UnwriteError, match=rf"{re.escape(name)} is a link to \S+: remove it"):
        verified(release)


def test_a_record_larger_than_any_is_refused_unread(release: Release) -> None:
    with (release.folder / "edit.json").open("r+b") as file:
        file.truncate(10**12)  # takes no room on the disk
    with pytest.raises(UnwriteError, match=r"edit.json has 1,000,000,000,000 bytes, and no such record has"):
        verified(release)


def test_a_file_that_cannot_be_read_is_one_line(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("unwrite.files.hashing.sha256_of", denied)
    with pytest.raises(UnwriteError, match=r"/\S+ cannot be read \(Permission denied\)\."):
        verified(release)
    message = r"a file of the release or its base cannot be read \(Input/output error\)"
    with pytest.raises(UnwriteError, match=message), unreadable_files_told():
        raise OSError(5, "Input/output error")


def test_control_other_errors_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), unreadable_files_told():
        raise ZeroDivisionError


def test_a_folder_that_is_none_is_left_to_the_manifests_reader(tmp_path: Path) -> None:
    refuse_endless_files(tmp_path / "nowhere", set())
    with pytest.raises(UnwriteError, match="nowhere"):
        verify_release(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [b"a b", b'it\'s "one"', b"two\nlines", b"bytes \xff\xfe", "grün ☕".encode()])
def test_an_honest_release_verifies_wherever_it_lies(name: bytes, release: Release, tmp_path: Path) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    shutil.copytree(release.folder, place / "release")
    shutil.copytree(release.base, place / "base")
    for path in sorted((place / "release").rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert failed(verify_release(place / "release", place / "base")) == {}
    link = tmp_path / "link"
    link.symlink_to(place / "release")
    assert failed(verify_release(link, place / "base")) == {}
