"""Progress is a bar on a terminal, plain lines every ten seconds elsewhere, or nothing."""

import io
import sys
import threading
import time

import pytest

from unwrite.pipeline.progress import Style, _Lines, _repeated, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that advances only when the test moves it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize("style", ["lines", "auto"])
def test_lines_are_printed_every_ten_seconds_and_at_the_end(
    style: Style, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("prompts", 8, style) as advance:
        for _ in range(4):
            clock.now += 6
            advance(2)
    assert lines_of(capsys) == ["prompts: 4/8, 0:00:12 left", "prompts: 8/8"]


def test_fast_work_is_one_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("prompts", 1000, "lines") as advance:
        for _ in range(1000):
            advance(1)
    assert lines_of(capsys) == ["prompts: 1000/1000"]


def test_earlier_work_counts_but_does_not_affect_the_remaining_time(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("trials", 100, "lines", done=40) as advance:
        clock.now += 20
        advance(10)
        clock.now += 3600
        advance(0)
    assert lines_of(capsys) == ["trials: 50/100, 0:01:40 left", "trials: 50/100, 5:01:40 left"]


def test_no_remaining_time_is_shown_before_any_work_is_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("trials", 100, "lines", done=40) as advance:
        clock.now += 20
        advance(0)
    assert lines_of(capsys) == ["trials: 40/100"]


def test_a_note_follows_the_count(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("trials", 1, "lines") as advance:
        advance(1, "lowest rate 3%")
    assert lines_of(capsys) == ["trials: 1/1  lowest rate 3%"]


def test_style_none_writes_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("prompts", 2, "none") as advance:
        clock.now += 60
        advance(1)
        advance(1)
    assert lines_of(capsys) == []


@pytest.mark.parametrize(("style", "stream"), [("auto", Terminal()), ("bar", io.StringIO())])
def test_a_bar_is_shown_on_a_terminal_or_if_asked(
    style: Style, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("prompts", 4, style) as advance:
        advance(1)
        advance(3, "a note")
    assert "prompts: 100%" in stream.getvalue()
    assert "4/4" in stream.getvalue()
    assert "a note" in stream.getvalue()


def test_a_bar_continues_from_earlier_work(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("trials", 4, "bar", done=2) as advance:
        advance(2)
    assert "2/4" in stream.getvalue()
    assert "4/4" in stream.getvalue()


@pytest.mark.parametrize("style", ["bar", "lines", "none"])
def test_an_error_in_the_work_passes_through(style: Style) -> None:
    with pytest.raises(ZeroDivisionError), progress("prompts", 2, style):
        raise ZeroDivisionError


def test_a_long_silence_is_broken_with_where_the_work_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines("prompts", 100, 0, counted=True)
    lines.advance(20, "a note")
    clock.now += 29
    lines.say_if_silent()
    assert lines_of(capsys) == []
    clock.now += 1
    lines.say_if_silent()
    lines.say_if_silent()  # once is enough
    assert lines_of(capsys) == ["prompts: 20/100, 0:02:00 left  a note"]


def test_a_repeated_call_ends_with_its_context() -> None:
    called = threading.Event()
    before = threading.active_count()
    with _repeated(called.set, 0.001):
        assert called.wait(60)
    assert threading.active_count() == before


def test_units_that_mean_nothing_are_shown_as_a_share(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("trials", 0.8, "lines", counted=False) as advance:
        clock.now += 12
        advance(0.2, title="trial 1 of 3")
        advance(0.6)
    assert lines_of(capsys) == ["trial 1 of 3: 25%, 0:00:36 left", "trial 1 of 3: 100%"]
