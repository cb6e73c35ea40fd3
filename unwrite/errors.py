"""The one exception that means "the person can mend this": shown as one or two lines, exit code 1, no traceback."""

import textwrap


class UnwriteError(Exception):
    """An expected error.

    Its message says what came, what was expected and what to do. Anything else that is raised is a bug and keeps
    its traceback.
    """


def reason_of(error: BaseException) -> str:
    """What a library says went wrong, in one line of at most 300 characters; the error's name if it says nothing."""
    return textwrap.shorten(str(error), 300, placeholder=" …") or type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: torch has a type of its own for some devices only, of others the message tells."""
    signs = ("out of memory", "can't allocate memory", "DefaultCPUAllocator", "STATUS_ALLOC_FAILED")
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or any(sign in str(error) for sign in signs)
