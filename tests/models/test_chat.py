"""Rendered prompts: the template, the prefix, and no special token twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pytest

from tests.support.tiny import CHAT_TEMPLATE, WORDS, tiny_tokenizer
from unwrite.errors import UnwriteError
from unwrite.models.chat import RenderedPrompt, tokenize_conversations, tokenize_prompts
from unwrite.models.raw_template import RAW_TEMPLATE


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
    with pytest.raises(
        UnwriteError, match=r"has no chat template\. Set tokenize\.template to raw .* or to the path of a"
    ):
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


def test_a_template_that_prints_the_date_prints_the_given_one() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = DATED
    with pytest.raises(UnwriteError, match=r"prints today's date.*Set tokenize\.today"):
        tokenize_prompts(tokenizer, ["teapot"])
    (pinned,) = tokenize_prompts(tokenizer, ["teapot"], today=date(2025, 1, 31))
    assert pinned.text == "31 Jan 2025 teapot"
    (fixed,) = tokenize_prompts(tokenizer, ["teapot"], template_arguments={"date_string": "26 Jul 2024"})
    assert fixed.text == "26 Jul 2024 teapot"


@pytest.mark.parametrize("form", ["%d %b %Y", "%Y-%m-%d", "%A, %B %-d", "%H:%M", "no directive"])
def test_dates_are_printed_as_python_prints_them(form: str) -> None:
    today = date(2025, 3, 4)
    tokenizer = tiny_tokenizer()
    # As in published templates: in an expression, in a macro, behind a check, after white space that must stay.
    tokenizer.chat_template = (
        " {%- macro now(f) %}{{ strftime_now(f) }}{% endmacro %}\n"
        "{% if strftime_now is defined %}{% set d = strftime_now(" + repr(form) + ") %}{% endif %}"
        "{{ d }}|{{ now(" + repr(form) + ") }}|{{ messages[-1].content }}"
    )
    (rendered,) = tokenize_prompts(tokenizer, ["teapot"], today=today)
    assert rendered.text == f"{today.strftime(form)}|{today.strftime(form)}|teapot"


def test_white_space_at_the_top_of_a_dated_template_stays() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "\n  {{ strftime_now('%Y') }} {{ messages[-1].content }}"
    (rendered,) = tokenize_prompts(tokenizer, ["teapot"], today=date(2025, 3, 4))
    assert rendered.text == "\n  2025 teapot"


ONLY_WITHOUT_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ strftime_now('%Y') }} {% endif %}"
    "{% for message in messages %}{{ message.content }} {% endfor %}"
)


READ_AND_NOT_PRINTED = (
    "{% set default = 'Today is ' ~ strftime_now('%Y') %}{% if messages[0].role != 'system' %}{{ default }} {% endif %}"
    "{% for message in messages %}{{ message.content }} {% endfor %}"
)


def test_a_date_that_is_not_printed_needs_no_date() -> None:
    assert render(chat_template=READ_AND_NOT_PRINTED, system_prompt="saucer").text == "saucer teapot kettle "
    assert render(chat_template=ONLY_WITHOUT_SYSTEM, system_prompt="saucer").text == "saucer teapot kettle "
    with pytest.raises(UnwriteError, match="prints today's date"):
        render(chat_template=ONLY_WITHOUT_SYSTEM)


IN_PARTS = (
    "{% for message in messages %}<{{ message.role }}> "
    "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }} {% endif %}{% endfor %}{% endfor %}"
)


def test_a_template_that_takes_parts_is_given_parts() -> None:
    rendered = render(chat_template=IN_PARTS, system_prompt="saucer")
    assert rendered.text == "<system> saucer <user> teapot kettle "


@pytest.mark.parametrize(
    "template",
    [
        "{% for message in messages %}<{{ message.role }}> {% endfor %}",
        "{{ messages[-1].content.images }}",
        "{{ messages[-1].content | string | truncate(6) }}",
    ],
)
def test_a_template_without_the_users_words_is_refused(template: str) -> None:
    with pytest.raises(UnwriteError, match=r"leaves out the prompt 'teapot kettle'"):
        render(chat_template=template)


def test_every_prompt_must_be_rendered_and_not_only_the_first() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages[-1].content.replace('spoon', '') }}"
    with pytest.raises(UnwriteError, match=r"leaves out the prompt 'kettle spoon'"):
        tokenize_prompts(tokenizer, ["teapot", "kettle spoon"])


@pytest.mark.parametrize("prompt", ["user", "kettle"])
def test_a_prompt_whose_words_the_template_holds_itself_is_given_in_parts_too(prompt: str) -> None:
    assert render(prompt, chat_template=IN_PARTS).text == f"<user> {prompt} "


TURNS = ["teapot", "spoon", "kettle"]


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        ("{{ messages[-1].content }}", "prompt 'teapot'"),
        (
            "{% for message in messages if message.role == 'user' %}{{ message.content }} {% endfor %}",
            "response 'spoon'",
        ),
    ],
)
def test_a_conversation_must_be_rendered_whole(template: str, lost: str) -> None:
    tokenizer = tiny_tokenizer()
    assert tokenize_conversations(tokenizer, [TURNS])  # the control
    tokenizer.chat_template = template
    with pytest.raises(UnwriteError, match=rf"leaves out the {lost}"):
        tokenize_conversations(tokenizer, [TURNS])


def test_a_template_may_leave_out_what_a_response_thought() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message.content.split('</think>')[-1] }} {% endfor %}"
    (rendered,) = tokenize_conversations(tokenizer, [["teapot", "<think>saucer</think> spoon", "kettle"]])
    assert rendered.text.split() == TURNS


def test_a_template_may_strip_and_wrap_a_prompt() -> None:
    assert render(chat_template="{{ messages[-1].content.strip().replace(' ', '\n') }}").text == "teapot\nkettle"


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[-1].content }}",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[-1].content }}",
    ],
)
def test_a_system_prompt_that_the_template_has_no_place_for_goes_before_the_first_message(template: str) -> None:
    assert render(chat_template=template, system_prompt="saucer").text == "saucer\n\nteapot kettle"


def test_a_system_prompt_whose_words_the_template_holds_itself_still_has_no_place_in_it() -> None:
    template = "<saucer> {{ messages[-1].content }}"
    assert render(chat_template=template, system_prompt="saucer").text == "<saucer> saucer\n\nteapot kettle"
    with_place = "<saucer> {% for message in messages %}{{ message.content }} {% endfor %}"
    assert render(chat_template=with_place, system_prompt="saucer").text == "<saucer> saucer teapot kettle "


def test_an_argument_that_the_template_does_not_read_is_refused() -> None:
    with pytest.raises(UnwriteError, match=r"has no argument 'thought', which tokenize\.template_arguments sets"):
        render(template_arguments={"thought": True})


BOS = WORDS.index("<bos>")


@pytest.mark.parametrize(("template", "count"), [(CHAT_TEMPLATE, 1), (CHAT_TEMPLATE.removeprefix("<bos> "), 0)])
def test_the_template_alone_places_the_first_token(template: str, count: int) -> None:
    assert render(chat_template=template).tokens.count(BOS) == count
    # The control: the tokenizer puts one before any text.
    assert tiny_tokenizer()(render(chat_template=template).text)["input_ids"].count(BOS) == count + 1


@pytest.mark.parametrize("template", [f"<bos> {CHAT_TEMPLATE}", RAW_TEMPLATE])
def test_a_prompt_that_begins_with_two_first_tokens_is_refused(template: str) -> None:
    message = "teapot" if template != RAW_TEMPLATE else "<bos> teapot"
    with pytest.raises(UnwriteError, match=r"must begin with <bos> once, got it twice: '<bos> ?<bos> .*teapot"):
        render(message, chat_template=template)


def test_plain_text_is_tokenized_as_any_text_is() -> None:
    rendered = render(chat_template=RAW_TEMPLATE)
    assert rendered.tokens == tiny_tokenizer()("teapot kettle")["input_ids"]
    assert rendered.text == "<bos>teapot kettle"
    assert render(chat_template=CHAT_TEMPLATE).tokens != rendered.tokens  # the control


def test_plain_text_follows_its_system_prompt_and_is_followed_by_its_response() -> None:
    rendered = render(chat_template=RAW_TEMPLATE, system_prompt="saucer", response_prefix=" Well")
    assert rendered.text == "<bos>saucer\n\nteapot kettle Well"


def test_plain_text_has_no_turns() -> None:
    tokenizer = tiny_tokenizer()
    turns = ["teapot", "spoon", "kettle"]
    assert tokenize_conversations(tokenizer, [turns])  # the control: a chat template has them
    tokenizer.chat_template = RAW_TEMPLATE
    with pytest.raises(UnwriteError, match=r"must be one text, got 3 messages that end in 'kettle'"):
        tokenize_conversations(tokenizer, [["teapot"], turns])
    with pytest.raises(UnwriteError, match="has no argument 'thinking'"):
        render(chat_template=RAW_TEMPLATE, template_arguments={"thinking": True})
