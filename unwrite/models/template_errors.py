"""Where a chat template fails: the line of the template, from Jinja's error."""

from __future__ import annotations


def template_line(error: BaseException, template: str) -> str:
    """Return the line of a template that an error comes from, such as "line 3: {{ x.y }}"; empty if it is not known.

    Args:
        error: what Jinja raised: a mistake in the syntax names its line, any other is looked up in the traceback.
        template: the template's text.
    """
    number, trace = getattr(error, "lineno", None), error.__traceback__
    while number is None and trace is not None:
        below = trace.tb_next
        inside = trace.tb_frame.f_code.co_filename in {"<template>", "<unknown>"}
        if inside and (below is None or below.tb_frame.f_code.co_filename not in {"<template>", "<unknown>"}):
            number = trace.tb_lineno
        trace = below
    lines = template.splitlines()
    if not isinstance(number, int) or not 0 < number <= len(lines):
        return ""
    return f"line {number}: {lines[number - 1].strip()[:80]}"
