"""What is text, what has ink, and what is the same again."""

import pytest

from unwrite.files.prompt_text import fingerprint, folded, is_text, is_visible


@pytest.mark.parametrize(
    "again",
    [
        "what IS tea?",
        "What  is\ttea?",
        " What is\n tea? ",
        "Ｗhat is tea？",  # full width
        "What is\u200b t\u00adea?",
        "What is\u00a0tea\u2060?",
    ],
)
def test_what_people_hardly_see_makes_no_difference(again: str) -> None:
    assert fingerprint(again) == fingerprint("What is tea?")
    assert folded(again) == "what is tea?"


def test_other_texts_and_other_places_differ() -> None:
    keys = [
        fingerprint(*texts) for texts in (["a"], ["b"], [None, "a"], ["", "a"], ["a", None], ["a", ""], ["a", "a"], [])
    ]
    assert len(set(keys)) == len(keys)
    assert fingerprint("café") == fingerprint("CAFE\u0301") != fingerprint("cafe")


@pytest.mark.parametrize(("value", "expected"), [("tea", True), ("", True), ("half \ud83d", False), (5, False)])
def test_half_a_character_is_no_text(value: object, expected: bool) -> None:
    assert is_text(value) is expected


@pytest.mark.parametrize(
    ("text", "expected"), [("tea", True), ("👩\u200d🍳", True), ("\u200b", False), (" \ufe0f", False)]
)
def test_ink_is_seen(text: str, expected: bool) -> None:
    assert is_visible(text) is expected
