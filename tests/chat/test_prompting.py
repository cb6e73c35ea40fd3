"""A chat renders a message as the pipeline does, with the settings of params.yaml or of a manifest."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.support.tiny import CHAT_TEMPLATE, tiny_tokenizer
from unwrite.chat.prompting import Prompting, notes_on_template, prompting_of, render
from unwrite.errors import UnwriteError
from unwrite.models.chat import tokenize_prompts

SECTION = {
    "target": "prompts/x.jsonl",
    "system_prompt": "saucer",
    "response_prefix": "Well spoon",
    "template_arguments": {"thinking": True},
    "today": "2025-03-04",
}
DATED = CHAT_TEMPLATE + "{{ strftime_now('%Y') }}"


def test_one_message_is_rendered_as_the_pipeline_renders_it() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = DATED
    settings = prompting_of({"tokenize": SECTION}, "params.yaml")
    (expected,) = tokenize_prompts(
        tokenizer,
        ["teapot kettle"],
        system_prompt="saucer",
        response_prefix="Well spoon",
        template_arguments={"thinking": True},
        today=date(2025, 3, 4),
    )
    assert render(tokenizer, ["teapot kettle"], settings) == expected
    assert "2025" in expected.text
    assert render(tokenizer, ["teapot kettle"], settings._replace(response_prefix="")) != expected  # the control


def test_a_conversation_has_its_turns_in_order() -> None:
    turns = ["teapot", "spoon", "kettle"]
    text = render(
        tiny_tokenizer(), turns, prompting_of({"tokenize": {"system_prompt": "saucer", "response_prefix": "Well"}}, "")
    ).text
    assert text == "<bos> <system> saucer <user> teapot <assistant> spoon <user> kettle <reply> Well"


def test_what_a_section_does_not_state_is_empty() -> None:
    assert prompting_of({}, "provenance.json") == Prompting(None, "", {}, None)
    assert prompting_of({"tokenize": SECTION}, "params.yaml").today == date(2025, 3, 4)


@pytest.mark.parametrize(("key", "value"), [("system_prompt", 3), ("today", "soon"), ("template_arguments", "x")])
def test_a_damaged_section_is_one_line(key: str, value: object) -> None:
    with pytest.raises(UnwriteError, match=rf"^x\.json: tokenize\.{key} is not valid") as caught:
        prompting_of({"tokenize": {**SECTION, key: value}}, "x.json")
    assert "\n" not in str(caught.value)


def test_notes_tell_what_the_template_adds() -> None:
    tokenizer = tiny_tokenizer()
    assert notes_on_template(tokenizer, prompting_of({}, "params.yaml")) == []
    tokenizer.chat_template = DATED
    (note,) = notes_on_template(tokenizer, prompting_of({"tokenize": {"today": "2025-03-04"}}, "params.yaml"))
    assert "2025-03-04" in note


@pytest.mark.parametrize(("own", "expected"), [({}, "saucer"), ({"system_prompt": "kettle"}, "kettle")])
@pytest.mark.parametrize("name", ["target", "baseline", "near"])
def test_a_sets_own_system_prompt_counts(name: str, own: dict[str, str], expected: str) -> None:
    def sections(source: object) -> dict[str, Any]:
        tokenize = {"system_prompt": "saucer", "target": "x.csv", "baseline": "y.csv"}
        if name == "near":
            return {"tokenize": tokenize, "evaluate": {"sets": {"near": {"prompts": source}}}}
        return {"tokenize": {**tokenize, name: source}}

    assert prompting_of(sections({"source": "x.csv", **own}), "", name).system_prompt == expected
    assert prompting_of(sections({"source": "x.csv", "system_prompt": None}), "", name).system_prompt is None
    assert prompting_of(sections("x.csv"), "", name).system_prompt == "saucer"


@pytest.mark.parametrize("extra", [{"near": {"prompts": "x"}}, {"near": {"prompts": "x"}, "far": 3}])
def test_a_set_that_there_is_not_is_refused_with_those_there_are(extra: object) -> None:
    with pytest.raises(UnwriteError, match=r"^x\.json has no prompt set none; it has target, baseline, near\.$"):
        prompting_of({"tokenize": SECTION, "evaluate": {"sets": extra}}, "x.json", "none")
    with pytest.raises(UnwriteError, match=r"it has target, baseline\.$"):
        prompting_of({"evaluate": {"sets": 3}}, "x.json", "none")
