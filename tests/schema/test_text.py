"""Text is read without its byte order mark; what cannot be read is one line with the remedy."""

import os
import socket
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.schema.text import read_text, refuse_endless


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("\ufefftea".encode())
    assert read_text(tmp_path / "text") == "tea"


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"text cannot be read \(No such file or directory\): pour it again\.$"):
        read_text(tmp_path / "text", "pour it again")


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"caf\xe9")
    with pytest.raises(UnwriteError, match=r"text is not UTF-8 \(byte 3\): save it as UTF-8"):
        read_text(tmp_path / "text")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_refused_although_its_bytes_are_utf8(encoding: str, tmp_path: Path) -> None:
    data = "teapot\nspoon".encode(encoding)
    assert data.decode("utf-8").replace("\0", "") == "teapot\nspoon"  # the control
    (tmp_path / "text").write_bytes(data)
    with pytest.raises(UnwriteError, match=r"text holds a NUL in line 1, as UTF-16 does: save it as UTF-8"):
        read_text(tmp_path / "text")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    with pytest.raises(UnwriteError, match=r"pipe is a pipe, not a file\. Write its content to a file"):
        read_text(tmp_path / "pipe")


def test_a_link_to_a_device_and_a_socket_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zeros").symlink_to("/dev/zero")
    with pytest.raises(UnwriteError, match="zeros is a device"):
        read_text(tmp_path / "zeros")
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(UnwriteError, match="socket is a socket"):
            read_text(Path("socket"))


def test_files_links_to_files_folders_and_missing_paths_are_not_endless(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("tea", encoding="utf-8")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link", "missing", "."):
        refuse_endless(tmp_path / name)
    assert read_text(tmp_path / "link") == "tea"
