"""Chain-of-thought blocks: left out of the answer, and of the part of it that is settled."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.thinking import answer_of, answer_parts, ends_in_thought, kept_tokens, opened_tag, settled_answer

ANALYSIS = "<|channel|>analysis<|message|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>"


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
        (f"{ANALYSIS}Sorry?<|end|>{FINAL}It is blue.", "\n\nIt is blue."),
        (f"{ANALYSIS}a<|end|><|start|>assistant{ANALYSIS}b<|end|>{FINAL}c", "\n\n\nc"),
        (f"{ANALYSIS}Sorry?{FINAL}It is blue.", "\n\nIt is blue."),
        ("<|channel|>analysis to=python<|message|>Sorry?<|end|>It", "\nIt"),
        ("<|channel|>final<|message|>It is blue.", "\nIt is blue."),
        (f"{ANALYSIS}Sorry? I", "\n"),
        (f"{ANALYSIS}Sorry?<|end|>", "\n"),
        (f"{ANALYSIS}Sorry?<|end|><|start|>", "\n\n"),
        (f"{ANALYSIS}Sorry?<|end|><|start|>assistant", "\n\n"),
        (f"{ANALYSIS}Sorry?<|end|><|start|>assistant<|channel|>final", "\n\n"),
        ("<|channel|>commentary<|message|>I look.", "<|channel|>commentary<|message|>I look."),
        ("It is blue.<|end|>", "It is blue.<|end|>"),
    ],
)
def test_the_answer_is_what_stands_around_the_blocks(text: str, answer: str) -> None:
    assert answer_of(text) == answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>Sorry? I", True),
        ("It is<think>", True),
        ("<think>a</think>b<think>c", True),
        ("<think>a</thinking>", True),
        (f"{ANALYSIS}Sorry? I", True),
        ("<think>a</think>", False),
        ("<think>a</think>It is blue.", False),
        ("It is blue.", False),
        (f"{ANALYSIS}Sorry?<|end|>", False),
        (f"{ANALYSIS}Sorry?<|end|><|start|>assistant", False),
        (f"{ANALYSIS}Sorry?{FINAL}", False),
        (f"{ANALYSIS}Sorry?<|end|>{FINAL}It is blue.", False),
    ],
)
def test_a_block_without_an_end_is_open(text: str, *, expected: bool) -> None:
    assert ends_in_thought(text) == expected


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("It is", "It is"),
        ("It is <th", "It is "),
        ("It is <", "It is "),
        ("It is [THINK", "It is "),
        ("<think>I", "\n"),
        ("It is<|start|>assist", "It is"),
        (f"{ANALYSIS}a<|end|>{FINAL}"[:-1], "\n"),
        (f"{ANALYSIS}a<|end|>{FINAL}I", "\n\nI"),
    ],
)
def test_the_beginning_of_a_tag_is_not_settled(text: str, settled: str) -> None:
    assert settled_answer(text) == settled


TAGS = ("<think>", "</think>", "<reasoning>", "</reasoning>", "[THINK]", "[/THINK]")
TOKENS = ("<|channel|>", "analysis", "final", "<|message|>", "<|end|>", "<|start|>", "assistant", "<|chan", "nel|>")
PARTS = st.lists(
    st.sampled_from([*TAGS, *TOKENS, ANALYSIS, FINAL, "<th", "ink>", "<", "/", "a", "b ", "[", "THINK]"]), max_size=8
).map("".join)


@settings(max_examples=1000)
@given(PARTS)
def test_the_answer_is_its_parts_joined(text: str) -> None:
    assert "\n".join(text[start:stop] for start, stop in answer_parts(text)) == answer_of(text)


@settings(max_examples=1000)
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
        ("<|end|><|start|>assistant", ""),
        (f"<|end|><|start|>assistant{ANALYSIS}", ANALYSIS),
        (f"<|end|><|start|>assistant{ANALYSIS}The user", ANALYSIS),
        ("<|end|><|start|>assistant<|channel|>analysis", "<|channel|>analysis"),
        ("<|end|><|start|>assistant<|channel|>", "<|channel|>"),
        (f"{ANALYSIS}About tea.<|end|>{FINAL}", ""),
        (f"{ANALYSIS}About tea.<|end|><|start|>assistant", ""),
    ],
)
def test_the_tag_that_a_prompt_leaves_open(prompt: str, tag: str) -> None:
    assert opened_tag(prompt) == tag


def test_special_tokens_of_channels_are_kept_only_with_channels() -> None:
    tokens = ["<think>", "<|end|>", "<|start|>", "<|return|>", "<bos>"]
    assert kept_tokens(tokens) == {"<think>"}
    assert kept_tokens([*tokens, "<|channel|>"]) == {"<think>", "<|end|>", "<|start|>", "<|channel|>"}
