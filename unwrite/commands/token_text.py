"""Tokens in a terminal: their boundaries, special tokens and line breaks made visible, in lines of limited width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from unwrite.report.shown_text import code_name

if TYPE_CHECKING:
    from unwrite.models.token_pieces import TokenPiece

BETWEEN, MARK = "│", "◀"
LEGEND = f"{BETWEEN} between tokens; «» special tokens; ⏎ line break; {MARK} where a residual is read"
_PICTURES = {"\n": "⏎", "\t": "⇥", "\r": "␍"}


class _Cell(NamedTuple):
    """One token as it is shown: its text, without style and with it, and whether a line ends behind it."""

    plain: str
    styled: str
    ends_line: bool


def token_lines(pieces: Sequence[TokenPiece], marks: Mapping[int, str], width: int) -> list[str]:
    """Return tokens as lines for a terminal.

    Args:
        pieces: the tokens in order.
        marks: what to write behind some tokens, by their number.
        width: columns of a line.
    """
    from rich.cells import cell_len

    lines, used = [""], 0
    for cell in _cells(pieces, marks):
        separator = BETWEEN if used else ""
        if used and used + cell_len(separator + cell.plain) > width:
            lines.append("")
            separator, used = BETWEEN, 0  # the boundary is seen at the start of the next line too
        lines[-1] += click.style(separator, dim=True) * bool(separator) + cell.styled
        used += cell_len(separator + cell.plain)
        if cell.ends_line:
            lines.append("")
            used = 0
    return lines if lines[-1] else lines[:-1]


def _cells(pieces: Sequence[TokenPiece], marks: Mapping[int, str]) -> Iterator[_Cell]:
    for number, piece in enumerate(pieces):
        text = "".join(_PICTURES.get(c) or (c if c.isprintable() else code_name(c)) for c in piece.text) or "…"
        shown = f"«{text}»" if piece.special else text
        styled = click.style(shown, fg="cyan") if piece.special else shown
        mark = f" {MARK} {marks[number]}" if number in marks else ""
        yield _Cell(
            shown + mark,
            styled + (click.style(mark, fg="yellow", bold=True) if mark else ""),
            piece.text.endswith("\n"),
        )
