"""A prompt that is too long keeps the longest beginning of its text that fits, and its suffix."""

from __future__ import annotations

import pytest

from unwrite.files.prompts import Prompt
from unwrite.pipeline.long_prompts import truncated_prompt


def words(prompt: Prompt) -> int:
    """Tokens, as if each word were one and a template added three."""
    return 3 + sum(len(turn.split()) for turn in prompt.turns)


def characters(prompt: Prompt) -> int:
    """Tokens that differ in size: a digit is one, and ten letters are one."""
    return sum(10 if c.isdigit() else 1 for c in prompt.text) // 10


@pytest.mark.parametrize("room", [4, 5, 50, 101, 102])
def test_as_many_words_stay_as_there_is_room_for(room: int) -> None:
    text = " ".join(f"w{number}" for number in range(100))
    cut = truncated_prompt(Prompt(text, None), "", words, room)
    assert cut is not None
    assert cut.text in text
    assert words(cut) == room


@pytest.mark.parametrize("text", ["1" * 300 + "a" * 3000, "a" * 3000 + "1" * 300, "a1" * 700])
def test_no_longer_beginning_would_fit(text: str) -> None:
    prompt = Prompt(text, "a reference")
    cut = truncated_prompt(prompt, "", characters, 100)
    assert cut is not None
    assert text.startswith(cut.text)
    assert cut.reference == "a reference"
    assert characters(cut) == 100
    assert characters(prompt) > 100  # the control


def test_few_beginnings_are_tried() -> None:
    tried = []

    def count(prompt: Prompt) -> int:
        tried.append(prompt)
        return characters(prompt)

    assert truncated_prompt(Prompt("1" * 1000 + "a" * 1_000_000, None), "", count, 2000) is not None
    assert len(tried) <= 45  # twice the number of halvings of a million


def test_a_suffix_and_earlier_turns_stay() -> None:
    prompt = Prompt("one two three four. Be brief.", None, None, ("Hello there.", "Hi."))
    cut = truncated_prompt(prompt, " Be brief.", words, 10)
    assert cut is not None
    assert (cut.text, cut.earlier) == ("one two Be brief.", prompt.earlier)


def test_where_not_even_one_character_fits_there_is_nothing() -> None:
    assert truncated_prompt(Prompt("one two", None, None, ("Hello.", "Hi.")), "", words, 5) is None
