"""One conversation through a template: its text, and what becomes of a system prompt."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.tiny import CHAT_TEMPLATE, tiny_tokenizer
from unwrite.errors import UnwriteError
from unwrite.models.conversation_text import Rendering, default_system_prompt, holds, rendered_text, takes_system_prompt

WITH_DEFAULT = (
    "<bos> {% if messages[0].role != 'system' %}<system> Be kind. {% endif %}"
    "{% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}"
)
WITHOUT_PLACE = "{{ messages[-1].content }}"


def test_turns_are_rendered_in_order_after_the_system_prompt() -> None:
    text = rendered_text(tiny_tokenizer(), ["teapot", "spoon", "kettle"], Rendering("saucer", {"thinking": True}, None))
    assert text == "<bos> <system> saucer <user> teapot <assistant> spoon <user> kettle think <reply> "


@pytest.mark.parametrize(
    ("template", "takes", "default"),
    [(CHAT_TEMPLATE, True, None), (WITH_DEFAULT, True, "Be kind."), (WITHOUT_PLACE, False, None)],
)
def test_what_a_template_does_with_a_system_prompt(template: str, takes: bool, default: str | None) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    assert takes_system_prompt(tokenizer, Rendering("saucer", {}, None)) == takes
    assert default_system_prompt(tokenizer, Rendering(None, {}, None)) == default


def test_a_date_is_the_given_one_or_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%Y') }} {{ messages[-1].content }}"
    assert rendered_text(tokenizer, ["teapot"], Rendering(None, {}, date(2025, 3, 4))) == "2025 teapot"
    with pytest.raises(UnwriteError, match="prints today's date"):
        rendered_text(tokenizer, ["teapot"], Rendering(None, {}, None))


def test_white_space_aside_a_text_is_held_or_not() -> None:
    assert holds("<user> tea\npot", "tea pot")
    assert not holds("<user> tea", "tea pot")
