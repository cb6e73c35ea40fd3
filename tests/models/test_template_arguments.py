"""An argument is a variable that a template reads and does not set itself."""

from __future__ import annotations

import pytest

from unwrite.errors import UnwriteError
from unwrite.models.template_arguments import refuse_unknown_arguments

READ = [
    "{% if thinking %}think{% endif %}",
    "{% set thinking = thinking | default(true) %}{{ thinking }}",
    "{% if not thinking is defined %}{% set thinking = true %}{% endif %}",
    "{% macro speak(role) %}{% if thinking %}{{ role }}{% endif %}{% endmacro %}{{ speak('user') }}",
    "{% for message in messages %}{% generation %}{{ thinking }}{% endgeneration %}{% endfor %}",
    "{% for message in messages %}{% if thinking %}{% break %}{% endif %}{% endfor %}",
    "{{ thinking.mode }}",
]
NOT_READ = [
    "{{ messages[-1].content }}",
    "No thinking here: {{ messages[-1].content }}",
    "{# thinking #}{{ messages[-1].thinking }}",
    "{% set thinking = true %}{{ thinking }}",
    "{% for thinking in messages %}{{ thinking }}{% endfor %}",
    "{{ 'thinking' }}{{ enable_thinking }}",
]


@pytest.mark.parametrize("template", READ)
def test_a_variable_that_is_read_is_an_argument(template: str) -> None:
    refuse_unknown_arguments(template, ["thinking"])
    refuse_unknown_arguments(template, [])


@pytest.mark.parametrize("template", NOT_READ)
def test_a_word_or_a_variable_of_its_own_is_none(template: str) -> None:
    with pytest.raises(UnwriteError, match="has no argument 'thinking'"):
        refuse_unknown_arguments(template, ["thinking"])


def test_a_template_with_a_mistake_is_left_to_rendering() -> None:
    refuse_unknown_arguments("{% for message in messages %}{{ thinking }}", ["thinking"])
