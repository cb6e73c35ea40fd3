"""Let errors about a prompt of a batch name the prompt's row in the whole set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from unwrite.errors import UnwriteError


@contextmanager
def named_rows(rows: Sequence[int], prompts: str = "") -> Iterator[None]:
    """Let an error about a prompt of a batch name its row in the whole set.

    Args:
        rows: the rows of the batch.
        prompts: which prompts they are, such as "target train"; the message begins with it.

    Raises:
        UnwriteError: the enclosed code raised one.
    """
    try:
        yield
    except UnwriteError as error:
        message = re.sub(r"(?<=at index )\d+", lambda found: str(rows[int(found[0])]), str(error))
        raise UnwriteError(f"{prompts} prompts: {message}" if prompts else message) from None
