"""The template environment that the report and the model card share: strict, with filters that write figures."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined

from unwrite.report import tables
from unwrite.report.format import nats, percent


def template_environment(
    package: str, *, autoescape: bool, finalize: Callable[[object], object] | None = None
) -> Environment:
    """Return an environment in which an unknown name is an error, not an empty string.

    Args:
        package: package whose folder `templates` is read.
        autoescape: whether values are escaped as HTML.
        finalize: function applied to every value before it is inserted, if any.
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
