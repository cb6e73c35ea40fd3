"""A download is told in lines: the first at its first bytes, then one after every pause; files are not counted."""

from __future__ import annotations

import sys

import pytest
from huggingface_hub import constants
from transformers.utils.logging import disable_progress_bar

from unwrite.models import download_lines
from unwrite.models.download_lines import DownloadLines, SilentBar, bar_class


def new_class() -> type[DownloadLines]:
    made = bar_class()
    assert made is not None
    assert issubclass(made, DownloadLines)
    return made


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_first_bytes_are_told_and_no_more_before_the_pause_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    kind = new_class()
    bar, other = (kind(total=8_000_000, unit="B", mininterval=0) for _ in range(2))
    assert said(capsys) == []
    bar.update(2_000_000)
    bar.update(2_000_000)
    other.update(1_000_000)
    assert said(capsys) == ["Downloading the model: 2 of 8 MB."]
    new_class()(total=8_000_000, unit="B", mininterval=0).update(1_000_000)
    assert said(capsys) == ["Downloading the model: 1 of 8 MB."]


def test_every_pause_ends_with_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_lines, "_SECONDS_BETWEEN_LINES", 0.0)
    bar = new_class()(total=8_000_000, unit="B", mininterval=0)
    bar.update(2_000_000)
    bar.update(2_000_000)
    assert said(capsys) == ["Downloading the model: 2 of 8 MB.", "Downloading the model: 4 of 8 MB."]


def test_files_and_a_silent_bar_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    for bar in (new_class()(total=3, mininterval=0), SilentBar(total=3, unit="B", mininterval=0)):
        bar.update(2)
        bar.close()
    assert said(capsys) == []


def test_a_terminal_has_the_hubs_own_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    disable_progress_bar()  # of transformers, which the hub's library follows
    assert bar_class() is not None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert bar_class() is None
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    assert bar_class() is None
