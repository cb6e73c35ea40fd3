"""The arguments that a chat template reads: Jinja would ignore any other without a word."""

from __future__ import annotations

import re
from collections.abc import Iterable

from unwrite.errors import UnwriteError

_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""The tag of transformers around what a model says, which Jinja does not know."""


def refuse_unknown_arguments(template: str, arguments: Iterable[str]) -> None:
    """Refuse an argument that the template never reads.

    A word of the template that is no variable, or a variable that it sets itself, is no argument.

    Args:
        template: the template's text.
        arguments: the names of the arguments that it is to be given.

    Raises:
        UnwriteError: there is such an argument; the message names it.
    """
    for name in arguments:
        if not _reads(template, name):
            raise UnwriteError(
                f"The chat template has no argument {name!r}, which tokenize.template_arguments sets. "
                "Check its spelling in the template, or remove it."
            )


def _reads(template: str, name: str) -> bool:
    from jinja2 import Environment, TemplateSyntaxError, meta

    environment = Environment(extensions=["jinja2.ext.loopcontrols"])  # as transformers does
    try:
        return name in meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", template)))
    except TemplateSyntaxError:  # rendering says what is wrong
        return re.search(rf"\b{re.escape(name)}\b", template) is not None
