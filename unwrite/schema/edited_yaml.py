"""Change values in a YAML file, and nothing else: comments, order and layout stay."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

_NEVER_WRAP = 10**9


def edited_yaml(text: str, changes: Mapping[str, Any]) -> str:
    """Return a YAML document with other values at some keys.

    Args:
        text: the document, laid out as `dvc exp run -S` would.
        changes: the new value of each dotted key, such as `model.source`.

    Raises:
        KeyError: the document has no such key.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width, yaml.preserve_quotes = _NEVER_WRAP, True
    document = yaml.load(text)
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = document
        for name in sections:
            section = section[name]
        if last not in section:
            raise KeyError(key)
        section[last] = value
    output = io.StringIO()
    yaml.dump(document, output)
    return output.getvalue()
