"""The conversation: read a line, obey it if it is a command, otherwise let every model reply to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import click

from unwrite.chat.prompting import Prompting
from unwrite.chat.screen import show_replies, shown_text
from unwrite.chat.speaker import Reply, Speaker
from unwrite.errors import UnwriteError

HELP = """\
/system TEXT   set the system prompt; without TEXT, send none
/reset         start a new conversation
/help          show this
/quit          end, as Ctrl-D does
Ctrl-C stops a reply. To send a message that begins with /, put a space before it."""

Show = Callable[[Sequence[Reply]], None]


def run_chat(
    speakers: Sequence[Speaker],
    prompting: Prompting,
    lines: Iterator[str],
    *,
    history: bool = True,
    show: Show = show_replies,
) -> None:
    """Let the models reply to every line until the lines end or one of them is /quit.

    Args:
        speakers: the models.
        prompting: the template settings to begin with.
        lines: what the user enters.
        history: whether the models remember; if not, each message is a conversation of its own.
        show: runs replies to their end while showing them.

    Raises:
        KeyboardInterrupt: Ctrl-C while a reply is generated, where no one is at the keyboard to go on.
    """
    for line in lines:
        command, _, text = line.rstrip().partition(" ")
        if command == "/quit":
            return
        if command.startswith("/"):
            prompting = _obey(command, text.strip(), speakers, prompting)
        elif line.strip():
            _converse(line.strip(), speakers, prompting, show)
            if not history:
                _forget(speakers)


def typed_lines() -> Iterator[str]:
    """Yield the lines that a user types at a prompt, or those of standard input, repeated as at a prompt."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  # `input` edits the line with it, and recalls earlier ones

        while True:
            try:
                yield input("> ")
            except EOFError:
                click.echo()
                return
    for line in sys.stdin:
        click.echo(f"> {shown_text(line.rstrip())}")
        yield line


def _obey(command: str, text: str, speakers: Sequence[Speaker], prompting: Prompting) -> Prompting:
    if command == "/system":
        click.echo(f"System prompt: {shown_text(text)}" if text else "No system prompt.")
        return prompting._replace(system_prompt=text or None)
    if command == "/reset":
        _forget(speakers)
        click.echo("A new conversation.")
    elif command == "/help":
        click.echo(HELP)
    else:
        click.echo(f"There is no command {shown_text(command)}.\n{HELP}")
    return prompting


def _forget(speakers: Sequence[Speaker]) -> None:
    for speaker in speakers:
        speaker.forget()


def _converse(message: str, speakers: Sequence[Speaker], prompting: Prompting, show: Show) -> None:
    replies: list[Reply] = []
    try:
        replies = [speaker.reply(message, prompting) for speaker in speakers]
        show(replies)
    except UnwriteError as error:  # such as a template without system prompts: the chat goes on
        click.echo(f"error: {shown_text(str(error))}", err=True)
        return
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        click.echo("(stopped)")
    for speaker, reply in zip(speakers, replies, strict=False):  # fewer if they were stopped before they began
        if reply.text:
            speaker.keep(message, reply, prompting)
