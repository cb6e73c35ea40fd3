"""Show replies while they grow: in two columns on a wide terminal, one below the other anywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from unwrite.chat.speaker import Reply
from unwrite.release.untrusted import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDE = 100
"""Columns of a terminal that has room for two replies."""
_SECONDS_BETWEEN_FRAMES = 0.05
_ROWS_AROUND = 4
"""Rows of the terminal that a growing reply leaves free: names, notes, the cursor's line."""


def show_replies(replies: Sequence[Reply]) -> None:
    """Run replies to their end, and show them as they grow.

    Args:
        replies: one or two replies that have not begun.
    """
    if len(replies) > 1 and sys.stdout.isatty() and shutil.get_terminal_size().columns >= _WIDE:
        from rich.console import Console

        show_columns(replies, Console(highlight=False))
    else:
        show_below(replies)


def shown_text(text: str) -> str:
    """Return a model's text as a terminal may show it: control characters and escape sequences are spelled out."""
    return printable(text.replace("\r\n", "\n").expandtabs(4))


def show_below(replies: Sequence[Reply]) -> None:
    """Show one reply after the other, each token as it comes."""
    for reply in replies:
        click.echo(click.style(f"{reply.speaker}: ", bold=True), nl=False)
        shown = ""
        for _ in reply.steps:
            shown = _extend(shown, reply)
        _extend(shown, reply)
        click.echo(_notes(reply))


def _extend(shown: str, reply: Reply) -> str:
    """Print what a reply has more than `shown`, and return all that is shown now."""
    text = shown_text(reply.text)
    if text == shown:
        return shown
    if not text.startswith(shown):  # a tokenizer that rewrites earlier text: show all of it again
        click.echo()
        shown = ""
    click.echo(text[len(shown) :], nl=False)
    sys.stdout.flush()
    return text


def show_columns(replies: Sequence[Reply], console: Console) -> None:
    """Show replies side by side: their ends while they grow, all of them at the end.

    Args:
        replies: two replies that have not begun; they take turns, a token each.
        console: the terminal.
    """
    from rich.live import Live

    growing, drawn = list(replies), 0.0
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while growing:
                growing = [reply for reply in growing if _advance(reply)]
                if time.monotonic() - drawn >= _SECONDS_BETWEEN_FRAMES:
                    live.update(_columns(replies, console, console.height - _ROWS_AROUND), refresh=True)
                    drawn = time.monotonic()
    finally:
        console.print(_columns(replies, console, None))


def _advance(reply: Reply) -> bool:
    """Generate one more token, and return whether the reply continues."""
    return next((True for _ in reply.steps), False)


def _columns(replies: Sequence[Reply], console: Console, most_rows: int | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    gap = 3
    width = (console.width - gap * (len(replies) - 1)) // len(replies)
    table = Table.grid(padding=(0, gap, 0, 0))
    cells = []
    for reply in replies:
        table.add_column(width=width)
        lines = Text(shown_text(reply.text)).wrap(console, width)
        kept = lines if most_rows is None else lines[-most_rows:]
        note = Text(_notes(reply).strip(), style="dim")
        cells.append(Text("\n").join([Text(reply.speaker, style="bold"), *kept, *([note] if note else [])]))
    table.add_row(*cells)
    return table


def _notes(reply: Reply) -> str:
    return f"{' ' if reply.text else ''}({'; '.join(reply.notes)})" if reply.notes else ""
