"""Lines become messages and commands; the chat goes on after an error and after Ctrl-C."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import pytest

from tests.chat.conftest import LIMIT, MakeSpeaker
from unwrite.chat.loop import run_chat, typed_lines
from unwrite.chat.prompting import Prompting, prompting_of, render
from unwrite.chat.screen import show_below
from unwrite.chat.speaker import Reply

PROMPTING = prompting_of({}, "params.yaml")


def test_history_is_kept_for_each_model_and_reset(
    make_speaker: MakeSpeaker, capsys: pytest.CaptureFixture[str]
) -> None:
    speakers = [make_speaker("base", seed=0), make_speaker("edited", seed=1)]
    run_chat(speakers, PROMPTING, iter(["teapot", "", "kettle"]))
    turns = [speaker.turns for speaker in speakers]
    assert [side[0::2] for side in turns] == [["teapot", "kettle"]] * 2
    assert turns[0] != turns[1]
    assert turns[0][1] in capsys.readouterr().out
    run_chat(speakers, PROMPTING, iter(["/reset"]))
    assert [speaker.turns for speaker in speakers] == [[], []]


def test_without_history_a_message_gets_the_reply_that_it_gets_alone(
    make_speaker: MakeSpeaker, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for lines, history in ((["kettle"], True), (["teapot", "kettle"], False), (["teapot", "kettle"], True)):
        run_chat([make_speaker()], PROMPTING, iter(lines), history=history)
        printed.append(capsys.readouterr().out.splitlines()[-1])
    assert printed[0] == printed[1] != printed[2]


def test_a_system_prompt_is_sent_from_then_on(make_speaker: MakeSpeaker, capsys: pytest.CaptureFixture[str]) -> None:
    speaker, seen = make_speaker(), []

    def show(replies: Sequence[Reply]) -> None:
        seen.append(render(speaker.tokenizer, [*speaker.turns, "kettle"], PROMPTING).text)

    asked = []
    original = speaker.reply

    def reply(message: str, prompting: Prompting) -> Reply:
        asked.append(prompting.system_prompt)
        return original(message, prompting)

    speaker.reply = reply  # type: ignore[method-assign]
    run_chat([speaker], PROMPTING, iter(["a", "/system  spoon no", "b", "/system", "c"]), show=show)
    assert asked == [None, "spoon no", None]
    assert capsys.readouterr().out == "System prompt: spoon no\nNo system prompt.\n"


def test_quit_ends_and_help_and_unknown_commands_explain(
    make_speaker: MakeSpeaker, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["/help", "/x\x1b[2J", "/quit", "teapot"])
    run_chat([make_speaker()], PROMPTING, lines)
    assert next(lines) == "teapot"
    out = capsys.readouterr().out
    assert out.count("/system TEXT") == 2
    assert "There is no command /x\\x1b[2J." in out


def test_a_space_sends_a_message_that_begins_with_a_slash(make_speaker: MakeSpeaker) -> None:
    speaker = make_speaker()
    run_chat([speaker], PROMPTING, iter([" /reset"]))
    assert speaker.turns[0] == "/reset"


def test_the_chat_goes_on_after_an_error(make_speaker: MakeSpeaker, capsys: pytest.CaptureFixture[str]) -> None:
    speaker = make_speaker()
    run_chat([speaker], PROMPTING, iter(["teapot " * LIMIT, "kettle"]))
    printed = capsys.readouterr()
    assert printed.err.startswith("error: The message has")
    assert printed.err.count("\n") == 1
    assert speaker.turns[0] == "kettle"


class Terminal(io.StringIO):
    """Standard input of someone at a keyboard."""

    def isatty(self) -> bool:
        return True


def interrupted(replies: Sequence[Reply]) -> None:
    """Show as on a screen, with Ctrl-C after the second token."""
    next(replies[0].steps)
    next(replies[0].steps)
    raise KeyboardInterrupt


def test_ctrl_c_stops_the_reply_and_keeps_what_was_said(
    make_speaker: MakeSpeaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    speakers = [make_speaker("base"), make_speaker("edited")]
    run_chat(speakers, PROMPTING, iter(["teapot"]), show=interrupted)
    assert len(speakers[0].turns[1].split()) <= 2
    assert speakers[0].turns[0] == "teapot"
    assert speakers[1].turns == []
    assert capsys.readouterr().out == "(stopped)\n"


def test_ctrl_c_without_a_terminal_ends_the_chat(make_speaker: MakeSpeaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("teapot\nkettle\n"))
    with pytest.raises(KeyboardInterrupt):
        run_chat([make_speaker()], PROMPTING, typed_lines(), show=interrupted)


def test_piped_lines_are_repeated_harmlessly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("teapot\n\x1b[31mkettle"))
    assert list(typed_lines()) == ["teapot\n", "\x1b[31mkettle"]
    assert capsys.readouterr().out == "> teapot\n> \\x1b[31mkettle\n"


def test_typed_lines_end_with_ctrl_d(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["teapot", "kettle"])

    def type_line(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", type_line)
    assert list(typed_lines()) == ["teapot", "kettle"]


def test_show_below_is_enough_for_a_chat(make_speaker: MakeSpeaker, capsys: pytest.CaptureFixture[str]) -> None:
    run_chat([make_speaker("edited")], PROMPTING, iter(["teapot"]), show=show_below)
    assert capsys.readouterr().out.startswith("edited: ")
