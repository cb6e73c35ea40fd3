"""The process of a worker: it says what it has installed, holds an object that works, and calls it.

Ray ships this class by value, so that a machine without unwrite, or with another version, can still say so: nothing of
the project is imported before it is called.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SECONDS_TO_OUTLIVE = 1.0

Message = tuple[int, str]
"""A message for the driver to show, with its level."""


class Host:
    """A worker; mutable: it holds the object that `prepare` made."""

    def __init__(self, code: str, folder: str, environment: Mapping[str, str]) -> None:
        """Go to the project's folder, where it is there.

        Args:
            code: the folder that the driver imports unwrite from.
            folder: the project's folder.
            environment: variables to set.
        """
        os.environ.pop("OMP_NUM_THREADS", None)  # which Ray has set
        os.environ.update(environment)
        if Path(folder).is_dir():
            os.chdir(folder)
        if Path(code, "unwrite").is_dir():
            sys.path.insert(0, code)
        self._work: Any = None
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def introduce(self) -> tuple[str, int, Any]:
        """Return the name of this machine, the number of this process, and its `Identity`, or why it has none."""
        try:
            from unwrite.workers.identity import own_identity
        except ImportError as error:
            return platform.node(), os.getpid(), f"no unwrite that starts ({error})"
        return platform.node(), os.getpid(), own_identity()

    def prepare(self, make: Callable[[], Any], threads: int) -> tuple[Any, list[Message]]:
        """Make the object that will work, and return what this process computes on and what was said."""
        import torch

        from unwrite.models.allocator import keep_freed_memory, return_freed_memory
        from unwrite.pipeline.environment import current_environment

        keep_freed_memory()
        if threads:
            torch.set_num_threads(threads)
        self._work = None
        return_freed_memory()  # other processes may need it
        said: list[Message] = []
        with _collected(said):
            self._work = make()
        return current_environment(), said

    def call(self, method: str, arguments: tuple[Any, ...]) -> tuple[Any, list[Message]]:
        """Call a method of the object, and return its result and what it said."""
        said: list[Message] = []
        with _collected(said):
            return getattr(self._work, method)(*arguments), said


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, be it in the middle of a trial: Ray waits for the trial."""
    while os.getppid() == parent:
        time.sleep(_SECONDS_TO_OUTLIVE)
    os._exit(1)


@contextmanager
def _collected(said: list[Message]) -> Iterator[None]:
    """Keep what the loggers of unwrite say while open."""
    logger, handler = logging.getLogger("unwrite"), logging.Handler()
    setattr(handler, "emit", lambda record: said.append((record.levelno, record.getMessage())))  # noqa: B010
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
