"""The import of transformers, which takes seconds, beside work that waits for files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def transformers_preloaded() -> Iterator[None]:
    """Import what building a model needs in a thread while open; whoever imports it afterwards waits for the rest.

    If it cannot be imported, that is left to whoever needs it.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_import)
        yield


def _import() -> None:
    import transformers.modeling_utils  # noqa: F401
