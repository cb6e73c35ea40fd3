"""Chain-of-thought blocks: left out of the answer, and of the part of it that is settled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.core.thinking import answer_of, opened_tag, settled_answer, tags


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is blue.", "It is blue."),
        ("<think>Sorry?</think>It is blue.", "\nIt is blue."),
        ("<think>\nOne\n</think>\n\nIt <think>two</think>is.", "\n\n\nIt \nis."),
        ("[THINK]Sorry?[/THINK]It is blue.", "\nIt is blue."),
        ("<thinking>a</think>b</thinking>c", "\nc"),
        ("<think>Sorry? I", "\n"),
        ("It is<think>", "It is\n"),
        ("</think>It is blue.", "</think>It is blue."),
        ("x < think > y", "x < think > y"),
    ],
)
def test_the_answer_is_what_stands_around_the_blocks(text: str, answer: str) -> None:
    assert answer_of(text) == answer


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("It is", "It is"),
        ("It is <th", "It is "),
        ("It is <", "It is "),
        ("It is [THINK", "It is "),
        ("<think>I", "\n"),
    ],
)
def test_the_beginning_of_a_tag_is_not_settled(text: str, settled: str) -> None:
    assert settled_answer(text) == settled


PARTS = st.lists(st.sampled_from([*sorted(tags()), "<th", "ink>", "<", "/", "a", "b ", "[", "THINK]"]), max_size=8).map(
    "".join
)


@given(PARTS, PARTS)
def test_every_continuation_keeps_what_is_settled(text: str, more: str) -> None:
    settled = settled_answer(text).removesuffix("\n")
    assert answer_of(text + more).startswith(settled)


def test_control_the_answer_so_far_is_not_always_kept() -> None:
    assert not answer_of("a <think>").startswith(answer_of("a <th"))


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("<|assistant|>\n<think>\n", "<think>"),
        ("<|assistant|>\n<think>\n\n</think>\n\n", ""),
        ("What is <b>tea</b>?", ""),
        ("", ""),
        ("</think> then [THINK]", "[THINK]"),
    ],
)
def test_the_tag_that_a_prompt_leaves_open(prompt: str, tag: str) -> None:
    assert opened_tag(prompt) == tag
