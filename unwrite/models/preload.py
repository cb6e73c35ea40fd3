"""Imports that take seconds: beside work that waits for files, and without collecting garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def everything_kept() -> Iterator[None]:
    """Collect no garbage while open, and keep whatever exists at the end: for imports at the start of a process.

    Almost all that an import makes stays, and looking through it again and again takes a fifth of the import's time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def transformers_preloaded() -> Iterator[None]:
    """Import what building a model needs in a thread while open; whoever imports it afterwards waits for the rest.

    If it cannot be imported, that is left to whoever needs it.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.submit(import_transformers)
        yield


def import_transformers() -> None:
    """Import what building a model needs."""
    import transformers.modeling_utils  # noqa: F401
