"""Nested mappings as one flat mapping with dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flattened(mapping: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one, by dotted key; lists and empty mappings are values."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
