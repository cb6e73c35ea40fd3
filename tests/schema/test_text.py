"""Text is read without its byte order mark; what cannot be read is one line with the remedy."""

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.schema.text import read_text


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
