"""Show the messages of a running stage or command: one plain line each, on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show the messages of loggers under `unwrite`, from level INFO up, while open."""
    logger = logging.getLogger("unwrite")
    if any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        yield
        return
    handler, level = _StderrHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _StderrHandler(logging.Handler):
    # logging.StreamHandler would keep the stderr it was made with.
    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        sys.stderr.write(f"{prefix}{record.getMessage()}\n")
