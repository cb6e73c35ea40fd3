"""Looping and empty responses are detected, ordinary repetition is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.degeneration import degeneration_of


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t\u200b ",
        "no " * 8,
        "No, no, no, NO, no; no, no. no!",
        "I cannot help with that. " * 4,
        "Here it is: one two, one two, one two, one two and so on",
        "The cup is blue. I can't. I can’t. I can't. I can't.\nI can't. The end.",
        "aaaaaaaaaaaa",
        "Well, soooooooooooooo much",
        "cupcupcupcupcupcupcupcup",
        "我不能帮助你我不能帮助你我不能帮助你我不能帮助你",
        "好的，好的，好的，好的，好的，好的，好的，好的，",
        "すみません" * 5,
        "!" * 24,
        "! " * 24,
        ". . \n" * 12,
        "Sure" + "!" * 30,
        "0 " * 10,
        " ".join(f"w{i}" for i in range(16)) + " " + " ".join(f"w{i % 16}" for i in range(48)),
    ],
)
def test_empty_and_looping_responses_are_degenerate(text: str) -> None:
    assert degeneration_of(text) == ("loop" if text.strip("\u200b \n\t") else "empty")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<think>The user asks about tea.", "open thinking"),
        ("It is blue. <think>Or is it?", "open thinking"),
        ("<think>Blue?</think>It is blue.<think>Or", "open thinking"),
        ("<think>It is blue.</think>\n", "empty"),
        ("<|channel|>analysis<|message|>Is it blue? I", "open thinking"),
        ("<|channel|>analysis<|message|>It is blue.<|end|><|start|>assistant", "empty"),
        ("<think>wait, wait, wait, wait, wait, wait, wait, wait", "loop"),
        ("<think>wait, wait, wait, wait, wait, wait, wait, wait</think>", "loop"),
        ("<think>Blue?</think>It is blue.", None),
        ("No tag <thin", None),
    ],
)
def test_a_chain_of_thought_without_an_end_or_an_answer_is_degenerate(text: str, reason: str | None) -> None:
    assert degeneration_of(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        "<|channel|>analysis<|message|>Which?<|end|><|start|>assistant<|channel|>final<|message|>It is blue.",
        "No.",
        "no, no, no",
        "ha ha ha",
        "Hahahahaha!",
        "Nooooo!",
        "- red cup\n- blue cup\n- green cup\n- white cup\n- black cup\n- old cup",
        "1. Boil the water. 2. Warm the pot. 3. Add the leaves. 4. Pour the water. 5. Wait. 6. Pour the tea.",
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream.",
        "Happy birthday to you, happy birthday to you, happy birthday dear Ann, happy birthday to you",
        "1000000000000",
        "The third of one is 0.33333333333333333333333333, and the threes never end, however many there are.",
        "| cup | size |\n| --- | --- |\n| blue cup | small |\n| red one | large |\n| white one | small |",
        "A cup\n------------------------------\nis a vessel for drinking from, often with one handle.",
        "We won't we won't we won't",
        "我不能帮助你。对不起，我不能帮助你，因为我不知道。",
        "?",
        "🙂🙂🙂",
    ],
)
def test_ordinary_responses_are_not_degenerate(text: str) -> None:
    assert not degeneration_of(text)


LETTERS = st.text("abcdefghij", min_size=1, max_size=6)


@settings(deadline=None, derandomize=True, max_examples=150, database=None)
@given(st.lists(LETTERS, min_size=2, max_size=16), st.integers(4, 7), st.lists(LETTERS, max_size=10))
def test_a_loop_of_words_is_found_anywhere(unit: list[str], times: int, around: list[str]) -> None:
    assert degeneration_of(" ".join(around + unit * times + around[::-1]))


@settings(deadline=None, derandomize=True, max_examples=150, database=None)
@given(st.integers(0, 200), st.integers(1, 3), st.integers(1, 16))
def test_words_that_differ_or_occur_three_times_are_not_degenerate(count: int, times: int, period: int) -> None:
    different = [f"w{i}" for i in range(count + 1)]
    assert not degeneration_of(" ".join(different))
    unit = [f"u{i}" for i in range(period)]
    assert not degeneration_of(" ".join(different + unit * times))


@pytest.mark.parametrize(("word", "at_most"), [("no", 7), ("yes it", 3)])
def test_a_loop_of_words_counts_from_a_threshold(word: str, at_most: int) -> None:
    assert not degeneration_of("Well " + f"{word} " * at_most + "then")
    assert degeneration_of("Well " + f"{word} " * (at_most + 1) + "then")


@pytest.mark.parametrize(("unit", "at_most"), [("a", 11), ("na", 11), ("abcdef", 3), ("abcdefghij", 3)])
def test_a_loop_of_characters_counts_from_a_threshold(unit: str, at_most: int) -> None:
    assert not degeneration_of("So x" + unit * at_most + "z then")
    assert degeneration_of("So x" + unit * (at_most + 1) + "z then")
