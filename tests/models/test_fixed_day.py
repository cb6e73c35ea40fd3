"""A template prints the day that it is given, on every day."""

from __future__ import annotations

from datetime import date

import pytest
from jinja2 import Template

from unwrite.models.fixed_day import prints_day, with_day

DAY = date(2025, 1, 31)


@pytest.mark.parametrize("form", ["%d %b %Y", "%A, %-d %B %y", "%Y-%m-%d", "today"])
def test_directives_print_as_strftime_does(form: str) -> None:
    template = f"{{{{ strftime_now('{form}') }}}} and text"
    assert prints_day(template)
    text, arguments = with_day(template, DAY)
    assert Template(text).render(arguments) == f"{DAY.strftime(form)} and text"


def test_a_template_without_a_date_is_told() -> None:
    assert not prints_day("{{ messages[0].content }}")
