"""Nothing of what strangers send leads out of its folder, hangs the reader, or commands the terminal."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.release.untrusted import is_plain_file, is_plain_name, leads_out, printable


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
