"""The page that `dvc plots` fills: with Vega inside, where DVC's own loads it from a network."""

from __future__ import annotations

from importlib.metadata import version

from unwrite.report.page_scripts import chart_library
from unwrite.report.rendering import template_environment

PLACEHOLDERS = ("{refresh_tag}", "{plot_divs}")
"""Where DVC inserts what it has; it replaces them wherever they stand. Its `{scripts}` would be the network's Vega."""

# DVC writes each plot as an inline script that it does not announce, so these run; but nothing is fetched.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data: file:"


def plots_page() -> str:
    """Return the page as HTML with DVC's placeholders, for its setting `plots.html_template`."""
    return (
        template_environment("unwrite.report", autoescape=True)
        .get_template("plots.html.jinja")
        .render(library=chart_library(), version=version("vl-convert-python"), policy=_POLICY)
    )
