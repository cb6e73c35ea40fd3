"""Marker lists: what is a marker, and what every response would contain."""

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.marker_lists import read_markers


def file(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, newline="")
    return path


def test_markers_are_the_lines_that_are_not_comments(tmp_path: Path) -> None:
    content = "\ufeff# source: us\r\n\r\n I can't \r\n  # indented comment\nno # comment here\n"
    assert read_markers(file(tmp_path, "m.txt", content)) == ["I can't", "no # comment here"]


@pytest.mark.parametrize("content", ["", "\n", "# only\n# comments\n"])
def test_a_list_without_a_marker_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UnwriteError, match=r"m.txt holds no marker: nothing could count as showing the behaviour"):
        read_markers(file(tmp_path, "m.txt", content))


def test_a_missing_marker_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"m.txt is missing: .*`unwrite markers --write .*m.txt` proposes"):
        read_markers(tmp_path / "m.txt")


@pytest.mark.parametrize("marker", ["**", "\u200b", "\u2060 *"])
def test_a_marker_that_every_response_would_contain_is_named(tmp_path: Path, marker: str) -> None:
    with pytest.raises(UnwriteError, match=r"m.txt, line 3: the marker .* is empty once normalized.*Remove the line"):
        read_markers(file(tmp_path, "m.txt", f"# a comment\nsorry\n{marker}\n"))
