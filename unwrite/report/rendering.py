"""The template environment that the report and the model card share: strict, and with our figures as filters."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined

from unwrite.report import tables
from unwrite.report.format import nats, percent


def template_environment(
    package: str, *, autoescape: bool, finalize: Callable[[object], object] | None = None
) -> Environment:
    """Templates of `package`; an unknown name in one is an error, not an empty place.

    Args:
        package: Whose folder `templates` to read.
        autoescape: Whether values are escaped as HTML.
        finalize: What every value passes through on its way into the text, if anything.
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=autoescape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "rate": tables.rate_text,
        "interval": tables.interval_text,
        "percent": percent,
        "nats": nats,
    }
    return environment
