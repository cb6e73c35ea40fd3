"""Rendered prompts: the template, the prefix, and no special token twice."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.tiny import WORDS, tiny_tokenizer
from unwrite.errors import UnwriteError
from unwrite.models.chat import RenderedPrompt, tokenize_prompts


def render(
    message: str = "teapot kettle",
    *,
    system_prompt: str | None = None,
    response_prefix: str = "",
    template_arguments: Mapping[str, object] | None = None,
    chat_template: str | None = "",
) -> RenderedPrompt:
    tokenizer = tiny_tokenizer()
    if chat_template != "":
        tokenizer.chat_template = chat_template
    (rendered,) = tokenize_prompts(
        tokenizer,
        [message],
        system_prompt=system_prompt,
        response_prefix=response_prefix,
        template_arguments=template_arguments or {},
    )
    return rendered


def test_prompt_ends_where_the_response_begins() -> None:
    text, tokens = render()
    assert text == "<bos> <user> teapot kettle <reply> "
    assert [WORDS[token] for token in tokens] == text.split()


def test_every_message_is_a_separate_conversation() -> None:
    messages = ["teapot", "kettle saucer"]
    prompts = tokenize_prompts(tiny_tokenizer(), messages)
    assert prompts == [render(message) for message in messages]
    assert tokenize_prompts(tiny_tokenizer(), []) == []


def test_special_tokens_are_not_doubled() -> None:
    assert render().tokens.count(WORDS.index("<bos>")) == 1
    # The control: by default the tokenizer adds another.
    assert tiny_tokenizer()(render().text)["input_ids"].count(WORDS.index("<bos>")) == 2


def test_system_prompt_is_first() -> None:
    assert render(system_prompt="saucer").text == "<bos> <system> saucer <user> teapot kettle <reply> "
    assert render(system_prompt="").text.startswith("<bos> <system>  <user>")


def test_response_prefix_is_last() -> None:
    text, tokens = render(response_prefix="Well spoon")
    assert text.endswith("<reply> Well spoon")
    assert [WORDS[token] for token in tokens[-3:]] == ["<reply>", "Well", "spoon"]


def test_template_arguments_reach_the_template() -> None:
    assert render(template_arguments={"thinking": True}).text.endswith("think <reply> ")
    assert render(template_arguments={"thinking": False}) == render()


def test_missing_chat_template_is_an_error() -> None:
    with pytest.raises(UnwriteError, match=r"has no chat template\. .*chat_template\.jinja"):
        render(chat_template=None)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no saucers') }}",
        "{% for message in messages %}",
        "{{ messages[9].content }}",
        "{{ messages + 1 }}",
        "{{ messages[0].content | no_such_filter }}",
    ],
)
def test_template_that_rejects_a_prompt_is_an_error_that_shows_it(template: str) -> None:
    with pytest.raises(UnwriteError, match="The chat template rejects the prompt 'teapot kettle'"):
        render(chat_template=template)


def test_template_arguments_cannot_override_ours() -> None:
    with pytest.raises(UnwriteError, match="tokenize"):
        render(template_arguments={"tokenize": True})


DATED = "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }} {{ messages[-1].content }}"


def test_template_that_prints_the_date_is_refused_unless_the_date_is_set() -> None:
    with pytest.raises(UnwriteError, match=r"prints today's date.*date_string"):
        render(chat_template=DATED)
    fixed = render(chat_template=DATED, template_arguments={"date_string": "26 Jul 2024"})
    assert fixed.text == "26 Jul 2024 teapot kettle"
