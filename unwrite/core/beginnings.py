"""The text that every response of a model begins with, its chain of thought closed: the answer starts behind it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TypeVar

T = TypeVar("T")


def common_beginning(responses: Sequence[Sequence[T]]) -> list[T]:
    """Return what all responses begin with.

    Args:
        responses: token ids or texts, at least one response.

    Raises:
        ValueError: there are no responses.

    Example:
        >>> common_beginning([[5, 3, 8], [5, 3, 9, 1]])
        [5, 3]
    """
    if not responses:
        raise ValueError("responses must not be empty")
    return [tokens[0] for tokens in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*responses, strict=False))]


def closed_beginning(rendered: str, beginning: str, pairs: Sequence[tuple[str, str]]) -> str:
    r"""Return what must follow a rendered prompt so that the answer, and no chain of thought, comes next.

    Args:
        rendered: a rendered prompt, or its end.
        beginning: what every response begins with.
        pairs: how a block opens, and the closed block in its place, which begins as it opens.

    Returns:
        `beginning`, or the closed block if a block opens at its start; if the prompt itself ends in an open block, the
        rest of the closed one.

    Example:
        >>> pairs = [("<think>", "<think>\n\n</think>\n\n")]
        >>> closed_beginning("assistant:", "<think>\nOkay", pairs)
        '<think>\n\n</think>\n\n'
        >>> closed_beginning("assistant:<think>\n", "Okay", pairs)
        '\n</think>\n\n'
        >>> closed_beginning("assistant:", "Sure: ", pairs)
        'Sure: '
    """
    for opening, closed in pairs:
        if beginning.lstrip().startswith(opening.rstrip()):
            return closed
        if rendered.rstrip().endswith(opening.rstrip()):
            opened = rendered[rendered.rindex(opening.rstrip()) :]
            return closed[len(common_beginning([opened, closed])) :]
    return beginning
