"""Replies are shown whole, in one or two columns, and what they hold is harmless."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pytest
from rich.console import Console

from unwrite.chat.screen import show_below, show_columns, show_replies, shown_text
from unwrite.chat.speaker import Reply

ESCAPES = "\x1b[31mred\x1b[0m\x1b]0;title\x07 a\tb\r\nnext \u202edrawkcab"
BARE = {"\x1b", "\x07", "\r", "\t", "\u202e"}


def growing(speaker: str, pieces: Sequence[str], notes: Sequence[str] = ()) -> Reply:
    """A reply that grows by these pieces."""
    reply = Reply(speaker)

    def steps() -> Iterator[None]:
        for piece in pieces:
            reply.text += piece
            yield
        reply.notes += notes

    reply.steps = steps()
    return reply


def terminal(width: int = 100, height: int = 24) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width, height=height, force_terminal=True, highlight=False), stream


def test_one_reply_follows_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    show_below([growing("base", ["Sorry", ", no."]), growing("edited", ["It is", " blue."], ["cut"])])
    assert capsys.readouterr().out == "base: Sorry, no.\nedited: It is blue. (cut)\n"


def test_each_piece_is_printed_before_the_next_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    reply = Reply("base")

    def steps() -> Iterator[None]:
        for piece in ("It ", "is ", "blue."):
            reply.text += piece
            yield
            seen.append(capsys.readouterr().out)

    reply.steps = steps()
    show_below([reply])
    assert seen == ["base: It ", "is ", "blue."]


def test_text_that_is_rewritten_is_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    reply = Reply("base")

    def steps() -> Iterator[None]:
        for text in ("It iz", "It is blue."):
            reply.text = text
            yield

    reply.steps = steps()
    show_below([reply])
    assert capsys.readouterr().out == "base: It iz\nIt is blue.\n"


def test_without_a_terminal_there_are_no_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show_replies([growing("base", ["a"]), growing("edited", ["b"])])
    assert capsys.readouterr().out == "base: a\nedited: b\n"


@pytest.mark.parametrize(("width", "together"), [(100, True), (99, False)])
def test_a_wide_terminal_has_two_columns(
    width: int, together: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    show_replies([growing("base", ["Sorry."]), growing("edited", ["It is blue."])])
    lines = capsys.readouterr().out.splitlines()
    assert any("Sorry." in line and "It is blue." in line for line in lines) == together
    assert any("Sorry." in line for line in lines)


def test_columns_stand_side_by_side_and_hold_everything() -> None:
    console, stream = terminal()
    words = " ".join(f"word{number}" for number in range(40))
    show_columns([growing("base", ["Sorry, ", "no."]), growing("edited", [words], ["cut at 9"])], console)
    final = stream.getvalue().rsplit("\x1b[2K", 1)[-1]
    lines = [line for line in final.splitlines() if "Sorry" in line]
    assert len(lines) == 1
    assert "word0 " in lines[0]
    assert all(word in final for word in words.split())
    assert "(cut at 9)" in final


def test_models_take_turns_token_by_token() -> None:
    order: list[str] = []

    def reply_of(name: str, tokens: int) -> Reply:
        def steps() -> Iterator[None]:
            for _ in range(tokens):
                order.append(name)
                yield

        return Reply(name, steps=steps())

    show_columns([reply_of("base", 2), reply_of("edited", 4)], terminal()[0])
    assert order == ["base", "edited", "base", "edited", "edited", "edited"]


def test_a_reply_longer_than_the_terminal_is_whole_at_the_end() -> None:
    console, stream = terminal(height=10)
    lines = [f"line{number}\n" for number in range(60)]
    show_columns([growing("base", lines), growing("edited", ["short"])], console)
    final = stream.getvalue().rsplit("\x1b[2K", 1)[-1]
    assert all(line.strip() in final for line in lines)


def test_what_was_said_stays_on_screen_when_a_reply_is_stopped() -> None:
    console, stream = terminal()
    reply = Reply("base")

    def steps() -> Iterator[None]:
        reply.text = "It is"
        yield
        raise KeyboardInterrupt

    reply.steps = steps()
    with pytest.raises(KeyboardInterrupt):
        show_columns([reply, growing("edited", ["Sorry", "."])], console)
    final = stream.getvalue().rsplit("\x1b[2K", 1)[-1]
    assert "It is" in final
    assert "Sorry" in final


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(ESCAPES) >= BARE
    text = shown_text(ESCAPES)
    assert not BARE & set(text)
    assert "\\x1b[31mred" in text
    assert "\nnext " in text
    show_below([growing("base", list(ESCAPES))])
    assert not BARE & set(capsys.readouterr().out)


def test_escapes_and_markup_in_columns_are_text() -> None:
    def printed(text: str) -> str:
        console, stream = terminal()
        show_columns([growing("base", [text]), growing("edited", ["[bold]x[/bold]"])], console)
        return stream.getvalue()

    assert "\x1b[31m" not in printed(ESCAPES)
    assert "\\x1b[31mred" in printed(ESCAPES)
    assert "[bold]x[/bold]" in printed("a")
