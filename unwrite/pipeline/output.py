"""Standard output as it is: with characters it may lack, and on a disk that may be full."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from unwrite.errors import UnwriteError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


@contextmanager
def checked_output() -> Iterator[None]:
    """Replace characters that the output's encoding lacks, and write everything out at the end.

    Raises:
        UnwriteError: the output has no room.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
        if sys.stdout is not None:  # None: it was closed before we started
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in _NO_ROOM:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python fails again at its end
        raise UnwriteError(f"the output cannot be written ({error.strerror}).") from None
