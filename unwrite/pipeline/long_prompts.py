"""Shorten a prompt that is too long for its model: the user's text, from its end."""

from __future__ import annotations

from collections.abc import Callable

from unwrite.files.prompts import Prompt


def truncated_prompt(prompt: Prompt, suffix: str, count: Callable[[Prompt], int], room: int) -> Prompt | None:
    """Return a prompt with the longest beginning of its text that fits; None if not even one character does.

    Of a conversation, the last message is shortened. Only rendering says how many tokens a beginning has, so some are
    tried: between the nearest two, in turn by their tokens per character and in the middle.

    Args:
        prompt: a prompt with more tokens than there is room for.
        suffix: what its set puts behind each text, which stays.
        count: the number of tokens of a prompt, all that the template adds included.
        room: tokens that the prompt may have.
    """
    text = prompt.text.removesuffix(suffix)

    def cut(length: int) -> Prompt:
        return prompt._replace(text=text[:length].rstrip() + suffix)

    fits, exceeds = 1, len(text)
    fewest, most = count(cut(fits)), count(prompt)
    if fewest > room:
        return None
    by_density = True
    while exceeds - fits > 1 and fewest < room:
        step = (exceeds - fits) // 2
        if by_density:
            step = min(max((room - fewest) * (exceeds - fits) // (most - fewest), 1), exceeds - fits - 1)
        tokens, by_density = count(cut(fits + step)), not by_density
        if tokens <= room:
            fits, fewest = fits + step, tokens
        else:
            exceeds, most = fits + step, tokens
    return cut(fits)
