"""The line of a template that fails is named."""

from __future__ import annotations

import jinja2
import pytest

from tests.support.tiny import tiny_tokenizer
from unwrite.errors import UnwriteError
from unwrite.models.chat import tokenize_prompts
from unwrite.models.template_errors import template_line

GOOD = "{% for message in messages %}\n{{ message.content }}\n{% endfor %}\n"


@pytest.mark.parametrize(
    ("template", "line"),
    [
        (GOOD + "{{ raise_exception('no saucers') }}\n", "line 4: {{ raise_exception('no saucers') }}"),
        (GOOD + "{{ messages[9].content }}", "line 4: {{ messages[9].content }}"),
        (
            "{{ bos_token }}\n{% for message in messages %}\n{{ messages + 1 }}\n{% endfor %}",
            "line 3: {{ messages + 1 }}",
        ),
        ("tea\n{% if %}", "line 2: {% if %}"),
    ],
)
def test_the_line_of_the_template_is_named(template: str, line: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(UnwriteError, match="The chat template rejects the prompt 'teapot'") as caught:
        tokenize_prompts(tokenizer, ["teapot"])
    assert line in str(caught.value)


def test_an_error_from_elsewhere_has_no_line() -> None:
    assert template_line(ValueError("x"), GOOD) == ""
    assert template_line(jinja2.TemplateSyntaxError("x", 99), GOOD) == ""
