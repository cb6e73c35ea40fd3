"""From rows to prompts: columns, conversations, and what is around them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.prompt_rows import LONGEST_PROMPT, Row
from unwrite.files.prompts import Prompt, columns_of, prompt_key, prompts_of, without_repetitions
from unwrite.schema.params import PromptSource

TALK = [
    {"role": "user", "content": "Do you like tea?"},
    {"role": "assistant", "content": "I do."},
    {"role": "user", "content": [{"type": "text", "text": "Which one?"}]},
]


def read(
    values: Sequence[Any], system_prompt: str | None = None, dropped: Counter[str] | None = None, **source: Any
) -> list[Prompt]:
    rows = [Row(f"x, line {number}", value) for number, value in enumerate(values, 1)]
    prompts = prompts_of(
        rows, PromptSource(source="x", **source), system_prompt, Counter() if dropped is None else dropped
    )
    return [prompt for _, prompt in prompts]


def test_text_and_records_are_prompts() -> None:
    assert read([" one ", "two"]) == [Prompt("one", None), Prompt("two", None)]
    records = [
        {"prompt": "one", "reference": "1", "kind": 5},
        {"prompt": "two", "reference": None},
        {"prompt": "three"},
    ]
    assert read(records) == [Prompt("one", "1"), Prompt("two", None), Prompt("three", None)]


def test_a_named_column_has_no_reference_unless_that_is_named_too() -> None:
    row = {"question": "one", "answer": "1", "reference": [5]}
    assert read([row], column="question") == [Prompt("one", None)]
    assert read([row], column="question", reference="answer") == [Prompt("one", "1")]
    assert columns_of(PromptSource(source="x", column="a")).prompts == ("a",)


def test_prefix_and_suffix_are_part_of_the_prompt() -> None:
    assert read(["tea"], prefix="What is ", suffix="? ") == [Prompt("What is tea? ", None)]
    (talk,) = read([{"messages": TALK}], prefix="> ")
    assert talk.turns == ("Do you like tea?", "I do.", "> Which one?")


def test_a_conversation_is_shown_with_who_speaks() -> None:
    (talk,) = read([{"messages": TALK}], "Be brief.")
    assert talk == Prompt("Which one?", None, "Be brief.", ("Do you like tea?", "I do."))
    assert talk.shown == "User: Do you like tea?\n\nAssistant: I do.\n\nUser: Which one?"
    assert Prompt("tea", None).shown == "tea"


def test_a_system_message_and_an_answer_at_the_end_are_understood() -> None:
    dropped = Counter[str]()
    messages = [{"role": "system", "content": "Be brief."}, *TALK, {"role": "assistant", "content": "Assam."}]
    (talk,) = read([{"messages": messages}], dropped=dropped)
    assert talk == read([{"messages": TALK}], "Be brief.")[0]
    assert dropped == {"answer(s) at the end of conversations, which the model is to give": 1}
    with pytest.raises(UnwriteError, match=r"has a system message, and params\.yaml sets a system prompt"):
        read([{"messages": messages}], "Be long.")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "must be messages of user and assistant in turn, user first, got none"),
        (TALK[1:], "in turn, user first, got assistant, user"),
        ([TALK[0], TALK[0]], "in turn, user first, got user, user"),
        ([{"role": "tool", "content": "x"}], r"message 1 must be \{\"role\": system, user or assistant"),
        ([{"from": "human", "value": "x"}], r"message 1 must be \{\"role\""),
        ([{"role": "user", "content": None}], "message 1 must be text, got None"),
        ([{"role": "user", "content": [{"type": "image"}]}], r"message 1 must be text, got \[\{'type': 'image'"),
        (["hello"], r"message 1 must be \{\"role\""),
    ],
)
def test_a_conversation_that_no_template_takes_is_named(messages: list[Any], message: str) -> None:
    with pytest.raises(UnwriteError, match=rf'x, line 2: "messages",? ?.*{message}'):
        read([{"messages": TALK}, {"messages": messages}])


@pytest.mark.parametrize("value", [None, 5, {}, "", "  ", True, "\u200b", "half \ud83d"])
def test_a_prompt_that_is_not_text_is_named(value: object) -> None:
    with pytest.raises(UnwriteError, match=r'x, line 2: "prompt" must be text, got') as caught:
        read([{"prompt": "one"}, {"prompt": value}])
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [5, [], {}, False, "", " ", "**", "\u200b", "half \ud83d"])
def test_a_reference_that_no_response_could_equal_is_named(value: object) -> None:
    with pytest.raises(UnwriteError, match=r"x, line 1: \"reference\" of 'one' must be an answer or null, got"):
        read([{"prompt": "one", "reference": value}])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"promt": "two"}], r"x, line 1 has no column 'prompt'; its columns: 'promt'\. Name one with `column`"),
        ([5], "x, line 1: expected text or an object with 'prompt', got 5"),
        ([None], "x, line 1: expected text or an object with 'prompt', got None"),
        (["one", {"prompt": "two"}], "x, line 2 is an object, but the rows before it are text"),
        ([{"prompt": "two"}, "one"], "x, line 2 is text, but the rows before it are an object"),
    ],
)
def test_rows_of_another_form_are_named(values: list[Any], message: str) -> None:
    with pytest.raises(UnwriteError, match=message):
        read(values)


def test_a_prompt_that_no_model_reads_is_refused() -> None:
    with pytest.raises(UnwriteError, match=r'line 1: "prompt" has 10\.0 million characters, which no model reads'):
        read(["a" * 10_000_000])
    assert len(read(["a" * LONGEST_PROMPT])[0].text) == LONGEST_PROMPT


def test_byte_order_marks_inside_prompts_are_dropped_with_a_count() -> None:
    dropped = Counter[str]()
    assert read(["th\ufeffree\ufeff"], dropped=dropped) == [Prompt("three", None)]
    assert dropped == {"byte order mark(s) inside prompts": 2}


def test_the_first_of_repeated_prompts_stays() -> None:
    dropped = Counter[str]()
    prompts = [("a", Prompt("What is tea?", "1")), ("b", Prompt("what IS  tea?", "2")), ("c", Prompt("tea", None))]
    assert list(without_repetitions(prompts, dropped)) == [prompts[0], prompts[2]]
    assert dropped == {"prompt(s) that repeat an earlier one": 1}
    apart = [("a", Prompt("tea", None, "Be brief.")), ("b", Prompt("tea", None)), ("c", Prompt("tea", None, ""))]
    assert list(without_repetitions(apart, dropped)) == apart


def test_a_prompt_has_the_key_of_what_is_shown() -> None:
    (talk,) = read([{"messages": TALK}], "Be brief.")
    assert talk.key == prompt_key("be  brief.", talk.shown)
    assert talk.key != prompt_key(None, talk.shown)
    assert json.loads(json.dumps(talk))[0] == "Which one?"
