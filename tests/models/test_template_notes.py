"""What a chat template adds on its own is said, a line each."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.tiny import CHAT_TEMPLATE, tiny_tokenizer
from unwrite.models.raw_template import RAW_TEMPLATE
from unwrite.models.template_notes import template_notes

DATED = "<bos> {{ strftime_now('%d %b %Y') }} {{ messages[-1].content }}"
READ_AND_NOT_PRINTED = (
    "<bos> {% set default = 'Today is ' ~ strftime_now('%Y') %}"
    "{% if messages[0].role != 'system' %}{{ default }} {% endif %}"
    "{% for message in messages %}{{ message.content }} {% endfor %}"
)
IN_PARTS = (
    "<bos> {% for message in messages %}<{{ message.role }}> "
    "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }} {% endif %}{% endfor %}{% endfor %}"
)
NO_PLACE = "<bos> {{ messages[-1].content }}"
REJECTED = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}<bos> {{ messages[-1].content }}"
DEFAULT_SYSTEM = (
    "<bos> {% if messages[0].role != 'system' %}<system> You are a helper. {% endif %}"
    "{% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "system_prompt", "today", "notes"),
    [
        (DEFAULT_SYSTEM, None, None, ["adds a system prompt: 'You are a helper.'"]),
        (DEFAULT_SYSTEM, "saucer", None, []),
        (CHAT_TEMPLATE, None, None, []),
        (DATED, None, date(2025, 1, 31), ["prints the date: it reads 2025-01-31"]),
        (CHAT_TEMPLATE, None, date(2025, 1, 31), []),
        (READ_AND_NOT_PRINTED, "saucer", date(2025, 1, 31), []),
        ("<bos> {{ messages[-1].content }}", None, None, []),
        ("{{ messages[-1].content }}", None, None, ["does not write <bos>, which begins plain text"]),
        (IN_PARTS, None, None, []),
        (NO_PLACE, "saucer", None, ["has no system prompt: it is put before the first message"]),
        (REJECTED, "saucer", None, ["has no system prompt: it is put before the first message"]),
        (RAW_TEMPLATE, None, None, ["plain text without a chat template (tokenize.template: raw), each after <bos>."]),
    ],
)
def test_what_the_template_adds_is_said(
    template: str, system_prompt: str | None, today: date | None, notes: list[str]
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    said = template_notes(tokenizer, system_prompt=system_prompt, template_arguments={}, today=today)
    assert len(said) == len(notes)
    assert all(note in line for note, line in zip(notes, said, strict=True))
