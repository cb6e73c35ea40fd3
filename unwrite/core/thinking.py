"""Chain-of-thought blocks: what a reasoning model writes between two tags before its answer, and is no part of it."""

import re
from collections.abc import Collection

_NAMES = ("think", "thinking", "thought", "reasoning")
_TAGS = {**{f"<{name}>": f"</{name}>" for name in _NAMES}, "[THINK]": "[/THINK]"}
# The Harmony format (https://developers.openai.com/cookbook/articles/openai-harmony) has messages in channels: thoughts
# in `analysis`, the answer in `final`. A message after the first has a header of its own.
_CHANNEL, _NEXT, _END = "<|channel|>", "<|start|>assistant", "<|end|>"
_THOUGHTS, _ANSWER = f"{_CHANNEL}analysis", f"{_CHANNEL}final<|message|>"
_CHANNEL_TOKENS = frozenset({_CHANNEL, "<|message|>", "<|start|>", _END})
_LEFT_OUT = re.compile(
    "|".join(
        [
            *(f"{re.escape(opened)}.*?(?:{re.escape(closed)}|\\Z)" for opened, closed in _TAGS.items()),
            r"(?:<\|start\|>assistant)?<\|channel\|>analysis"
            r".*?(?:<\|end\|>|(?=(?:<\|start\|>assistant)?<\|channel\|>final)|\Z)",
            r"(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>",
            r"(?:<\|start\|>(?:assistant)?)?<\|channel\|>(?:final)?\Z",
            r"<\|start\|>(?:assistant)?\Z",
        ]
    ),
    re.S,
)
_TAG = re.compile("|".join(map(re.escape, [*_TAGS, *_TAGS.values()])))
_BEGINNINGS = (*_TAGS, _THOUGHTS, _ANSWER, _NEXT + _THOUGHTS, _NEXT + _ANSWER)
"""What changes how the text before or after it is read, once it is whole."""


def kept_tokens(special: Collection[str]) -> set[str]:
    """Return those of a tokenizer's special tokens that open or close a block, and must stay in a decoded response.

    Args:
        special: the special tokens, as text. Those of channels are kept only with the token that begins a channel:
            other models mean something else by <|end|>.
    """
    kept = {*_TAGS, *_TAGS.values()} | (_CHANNEL_TOKENS if _CHANNEL in special else set())
    return kept & set(special)


def answer_parts(text: str) -> list[tuple[int, int]]:
    """Return where the parts of a response that `answer_of` joins with newlines begin and end, empty ones included.

    Args:
        text: as in `answer_of`.
    """
    left_out = [match.span() for match in _LEFT_OUT.finditer(text)]
    return list(zip([0, *(stop for _, stop in left_out)], [*(start for start, _ in left_out), len(text)], strict=True))


def ends_in_thought(text: str) -> bool:
    """Return whether the last chain-of-thought block of a response has no end.

    Args:
        text: as in `answer_of`.

    Example:
        >>> ends_in_thought("<think>About tea. Sorry?"), ends_in_thought("<think>About tea.</think>It is blue.")
        (True, False)
    """
    last = next((match[0] for match in _LEFT_OUT.finditer(text) if match.end() == len(text)), "")
    for opened, closed in _TAGS.items():
        if last.startswith(opened):
            return not last.endswith(closed)
    return _THOUGHTS in last and not last.endswith(_END)


def answer_of(text: str) -> str:
    """Return a response without its chain-of-thought blocks, and without the headers of its channels.

    A block without an end takes the rest of the text with it: the answer has not begun.

    Args:
        text: a response, with the tag that opens its first block even where the prompt already ends in it.

    Returns:
        The text around the blocks; a newline stands for each of them.

    Example:
        >>> answer_of("<think>About tea. Sorry?</think>It is blue.").strip()
        'It is blue.'
        >>> thoughts = "<|channel|>analysis<|message|>About tea. Sorry?<|end|>"
        >>> answer_of(f"{thoughts}<|start|>assistant<|channel|>final<|message|>It is blue.").strip()
        'It is blue.'
    """
    return _LEFT_OUT.sub("\n", text)


def settled_answer(text: str) -> str:
    """Return the part of `answer_of` that every continuation of the text keeps: without the beginning of a tag.

    Args:
        text: the beginning of a response.
    """
    longest = max(map(len, _BEGINNINGS)) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in _BEGINNINGS):
            return answer_of(text[:-length])
    return answer_of(text)


def opened_tag(prompt: str) -> str:
    """Return the tag of the block that a rendered prompt leaves open, which the response then goes on with, or "".

    Of a channel, that is its header, as far as the prompt has it.

    Args:
        prompt: a rendered prompt, or its end.
    """
    _, channel, rest = prompt.rpartition(_CHANNEL)
    if channel and _END not in rest and (not rest or rest.startswith("analysis")):
        return channel + rest[: len("analysis<|message|>")]
    found = _TAG.findall(prompt)
    return found[-1] if found and found[-1] in _TAGS else ""
