"""The common beginning of responses is their longest one, and a chain of thought in it is closed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.core.beginnings import closed_beginning, common_beginning

TOKENS = st.lists(st.integers(0, 3), max_size=6)
HARMONY = "<|channel|>analysis<|message|>"
PAIRS = [
    ("<think>", "<think>\n\n</think>\n\n"),
    (HARMONY, f"{HARMONY}<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("[THINK]", "[THINK][/THINK]"),
]


@given(st.lists(TOKENS, min_size=1, max_size=5), TOKENS)
def test_it_is_the_longest_beginning_of_all(rests: list[list[int]], head: list[int]) -> None:
    responses = [head + rest for rest in rests]
    found = common_beginning(responses)
    assert found[: len(head)] == head
    assert all(response[: len(found)] == found for response in responses)
    longer = {tuple(response[: len(found) + 1]) for response in responses}
    assert len(longer) > 1 or any(len(response) == len(found) for response in responses)


def test_without_responses_there_is_none() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        common_beginning([])


@pytest.mark.parametrize(("opening", "closed"), PAIRS)
def test_a_block_that_responses_open_is_closed(opening: str, closed: str) -> None:
    assert closed_beginning("<user>Hi<assistant>", f"{opening}\nThe user", PAIRS) == closed
    assert closed_beginning("<user>Hi<assistant>", f"\n{opening}", PAIRS) == closed


@pytest.mark.parametrize(("opening", "closed"), PAIRS)
@pytest.mark.parametrize("space", ["", "\n"])
def test_a_block_that_the_prompt_opens_is_closed_once(opening: str, closed: str, space: str) -> None:
    prompt = f"<user>Hi<assistant>{opening}{space}"
    whole = prompt + closed_beginning(prompt, "Okay", PAIRS)
    assert whole.count(opening) == 1
    assert "".join(whole.split()) == "".join(f"<user>Hi<assistant>{closed}".split())


@pytest.mark.parametrize(
    ("prompt", "beginning"),
    [
        ("<assistant>", "Sure: "),  # a beginning without a block stays as it is
        ("<assistant>", ""),
        ("<assistant><think>\n\n</think>\n\n", "The"),  # the template has closed it already
        ("What does <think> mean?<assistant>", "It"),  # a block in the user's words
    ],
)
def test_the_control_nothing_is_closed_where_no_block_is_open(prompt: str, beginning: str) -> None:
    assert closed_beginning(prompt, beginning, PAIRS) == beginning
