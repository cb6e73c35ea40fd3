"""Show the progress of long work: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

Style = Literal["auto", "bar", "lines", "none"]
_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(title: str, total: int, style: Style, done: int = 0) -> Iterator[Callable[..., None]]:
    """Yield `advance(n, note="")`, to be called as work is done; progress goes to stderr.

    Args:
        title: name of the work.
        total: number of units.
        style: `bar`, `lines` (one every ten seconds), `none`, or `auto`: a bar if stderr is a terminal.
        done: units finished by an earlier run, ignored in the estimate of the remaining time.
    """
    if style == "bar" or (style == "auto" and sys.stderr.isatty()):
        from tqdm import tqdm

        with tqdm(total=total, initial=done, desc=title) as bar:

            def advance_bar(n: int, note: str = "") -> None:
                bar.set_postfix_str(note, refresh=False)
                bar.update(n)

            yield advance_bar
        return
    start = last = time.monotonic()
    count = done

    def advance_lines(n: int, note: str = "") -> None:
        nonlocal count, last
        count += n
        now = time.monotonic()
        if style != "none" and (now - last >= _SECONDS_BETWEEN_LINES or count == total):
            left = (now - start) / (count - done) * (total - count) if count > done else 0
            estimate = f", {timedelta(seconds=round(left))} left" if left else ""
            sys.stderr.write(f"{title}: {count}/{total}{estimate}{'  ' + note if note else ''}\n")
            last = now

    yield advance_lines
