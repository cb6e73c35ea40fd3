"""Chain-of-thought blocks: what a reasoning model writes between two tags before its answer, and is no part of it."""

import re

_NAMES = ("think", "thinking", "thought", "reasoning")
_TAGS = {**{f"<{name}>": f"</{name}>" for name in _NAMES}, "[THINK]": "[/THINK]"}
_BLOCK = re.compile(
    "|".join(f"{re.escape(opened)}.*?(?:{re.escape(closed)}|\\Z)" for opened, closed in _TAGS.items()), re.S
)
_TAG = re.compile("|".join(map(re.escape, [*_TAGS, *_TAGS.values()])))


def tags() -> frozenset[str]:
    """Return every tag that opens or closes a block."""
    return frozenset([*_TAGS, *_TAGS.values()])


def answer_of(text: str) -> str:
    """Return a response without its chain-of-thought blocks.

    A block without an end takes the rest of the text with it: the answer has not begun.

    Args:
        text: a response, with the tag that opens its first block even where the prompt already ends in it.

    Returns:
        The text around the blocks; a newline stands for each of them.

    Example:
        >>> answer_of("<think>About tea. Sorry?</think>It is blue.").strip()
        'It is blue.'
    """
    return _BLOCK.sub("\n", text)


def settled_answer(text: str) -> str:
    """Return the part of `answer_of` that every continuation of the text keeps: without the beginning of a tag.

    Args:
        text: the beginning of a response.
    """
    longest = max(map(len, _TAGS)) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in _TAGS):
            return answer_of(text[:-length])
    return answer_of(text)


def opened_tag(prompt: str) -> str:
    """Return the tag of the block that a rendered prompt leaves open, which the response then goes on with, or "".

    Args:
        prompt: a rendered prompt, or its end.
    """
    found = _TAG.findall(prompt)
    return found[-1] if found and found[-1] in _TAGS else ""
