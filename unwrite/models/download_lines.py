"""The progress of a download as lines of the log, where there is no terminal for the hub's own bars."""

from __future__ import annotations

import io
import logging
import sys
import time
from typing import Any

from tqdm.auto import tqdm

_SECONDS_BETWEEN_LINES = 10.0
logger = logging.getLogger(__name__)


class SilentBar(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
    """A bar for the hub's library that shows nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the library gives, and another file to write to."""
        super().__init__(*args, **{**kwargs, "file": io.StringIO()})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show nothing."""


class DownloadLines(SilentBar):
    """A bar for the hub's library that says how many bytes there are; mutable.

    The library makes several bars of one download, so they share one pause of ten seconds: that of the class.
    """

    _said = 0.0

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002
        """Log how far the download is. A bar that counts files says nothing, nor one that has none yet."""
        if self.unit != "B" or not self.n or (self._said and time.monotonic() - self._said < _SECONDS_BETWEEN_LINES):
            return
        type(self)._said = time.monotonic()
        logger.info("Downloading the model: %.0f of %.0f MB.", self.n / 1e6, (self.total or 0) / 1e6)


def bar_class() -> type[tqdm[Any]] | None:
    """Return the class that shows one download; None, which is the hub's own, where stderr is a terminal."""
    from huggingface_hub import constants

    # The person's own wish; transformers, told to show nothing, silences this library too.
    if sys.stderr.isatty() or constants.HF_HUB_DISABLE_PROGRESS_BARS:
        return None
    return type("LinesOfOneDownload", (DownloadLines,), {})
