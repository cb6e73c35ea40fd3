"""Show the progress of long work: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, Protocol

Style = Literal["auto", "bar", "lines", "none"]
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_OF_SILENCE = 30.0
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class OnProgress(Protocol):
    """A function to call as work is done."""

    def __call__(self, done: float, /, note: str = "", title: str = "") -> None:
        """Add `done` units; a note or a title replaces the earlier one."""


def is_bar(style: Style) -> bool:
    """Return whether progress of this style is a bar: `auto` is one if stderr is a terminal."""
    return style == "bar" or (style == "auto" and sys.stderr.isatty())


@contextmanager
def progress(title: str, total: float, style: Style, done: float = 0, *, counted: bool = True) -> Iterator[OnProgress]:
    """Yield `advance(n, note="", title="")`, to be called as work is done; progress goes to stderr.

    Args:
        title: name of the work.
        total: number of units.
        style: `bar`, `lines` (one every ten seconds while work is done, and after thirty seconds without any), `none`,
            or `auto`: a bar if stderr is a terminal.
        done: units finished by an earlier run, ignored in the estimate of the remaining time.
        counted: whether the units mean something to a reader; if not, only their share of the total is shown.
    """
    if is_bar(style):
        from tqdm import tqdm

        layout = None if counted else _BAR
        with tqdm(total=total, initial=done, desc=title, bar_format=layout) as bar:

            def advance_bar(done: float, note: str = "", title: str = "") -> None:
                if title:
                    bar.set_description_str(title, refresh=False)
                if note:
                    bar.set_postfix_str(note, refresh=False)
                bar.update(done)

            yield advance_bar
        return
    if style == "none":
        yield _say_nothing
        return
    lines = _Lines(title, total, done, counted=counted)
    with _repeated(lines.say_if_silent, _SECONDS_OF_SILENCE / 2):
        yield lines.advance


def _say_nothing(_done: float, note: str = "", title: str = "") -> None:
    pass


class _Lines:
    """Progress as lines on stderr; mutable."""

    def __init__(self, title: str, total: float, done: float, *, counted: bool) -> None:
        self._title, self._note, self._counted = title, "", counted
        self._total, self._first, self._done = total, done, done
        self._start = self._last = time.monotonic()
        self._said_at_end = ""

    def advance(self, done: float, note: str = "", title: str = "") -> None:
        """Add units, and say so if it is time."""
        self._done += done
        self._title, self._note = title or self._title, note or self._note
        at_end = f"{self._title} {self._note}" if self._done > self._total - 1e-6 else ""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES or at_end != self._said_at_end:
            self._say()
        self._said_at_end = at_end

    def say_if_silent(self) -> None:
        """Repeat where the work is if nothing has been said for long."""
        if time.monotonic() - self._last >= _SECONDS_OF_SILENCE:
            self._say()

    def _say(self) -> None:
        self._last = time.monotonic()
        new = self._done - self._first
        left = (self._last - self._start) / new * (self._total - self._done) if new > 0 else 0
        count = f"{self._done:g}/{self._total:g}" if self._counted else f"{self._done / self._total:.0%}"
        estimate = f", {timedelta(seconds=round(left))} left" if round(left) > 0 else ""
        sys.stderr.write(f"{self._title}: {count}{estimate}{'  ' + self._note if self._note else ''}\n")


@contextmanager
def _repeated(call: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call a function again and again in the background while open: one forward pass can take minutes."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
