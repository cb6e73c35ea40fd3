"""The day that a chat template prints as today's, whatever the clock says."""

from __future__ import annotations

from datetime import date

# Put before a template: transformers hands templates data, no functions, so a macro takes the place of the clock.
_CLOCK = (
    "{% macro strftime_now(form) -%}{% set ns = namespace(text=form) %}"
    "{% for directive, text in unwrite_today.items() %}{% set ns.text = ns.text.replace(directive, text) %}{% endfor %}"
    "{{ ns.text }}{%- endmacro +%}"
)
_DIRECTIVES = [f"%{flag}{letter}" for letter in "aAbBcCdDeFgGhHIjmMpSuUVwWxXyYzZ" for flag in ("", "-")]


def prints_day(template: str) -> bool:
    """Return whether a chat template asks for today's date."""
    return "strftime_now" in template


def with_day(template: str, day: date) -> tuple[str, dict[str, object]]:
    """Return a chat template that prints this day in place of the clock's, and the arguments that it needs for that.

    Args:
        template: a template that asks for today's date.
        day: the day.
    """
    return _CLOCK + template, {"unwrite_today": {directive: day.strftime(directive) for directive in _DIRECTIVES}}
