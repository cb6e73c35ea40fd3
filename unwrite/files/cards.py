"""Model cards: Markdown with YAML front matter, from which the hub reads the licence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import BaseCard
from unwrite.schema.safe_yaml import load_yaml
from unwrite.schema.text import read_text

CARD_FILE = "README.md"
NO_CARD = BaseCard(license=None, license_name=None, license_link=None, language=[])
_FRONT_MATTER = re.compile(r"\s*---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_LONGEST = 300  # characters of a licence's name or link


def read_card(folder: Path) -> BaseCard:
    """Read the licence and languages from the card in a folder; all are empty without a card or front matter.

    Values other than one line of text are left out. So is a list of several licences, since none of them is *the* one.

    Raises:
        UnwriteError: the front matter cannot be read.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        return NO_CARD
    data = read_front_matter(path)
    languages = data.get("language")
    lines = [_line(language) for language in (languages if isinstance(languages, list) else [languages])]
    return BaseCard(
        license=_line(data.get("license")),
        license_name=_line(data.get("license_name")),
        license_link=_line(data.get("license_link")),
        language=[line for line in lines if line is not None],
    )


def read_front_matter(path: Path) -> dict[str, Any]:
    """Read the front matter of a card as plain values; empty if there is none.

    Raises:
        UnwriteError: the file cannot be read, or its front matter is not YAML or not a mapping.
    """
    front_matter = _FRONT_MATTER.match(read_text(path))
    try:
        data = load_yaml(front_matter[1]) if front_matter else None
    except ValueError as error:
        raise UnwriteError(f"{path} opens with front matter that is not YAML ({error}).") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UnwriteError(f"{path} opens with front matter that is not a list of keys with values.")
    return data


def _line(value: object) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        return _line(value[0])
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST or not value.strip().isprintable():
        return None
    return value.strip()
