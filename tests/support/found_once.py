"""Discovery as `find_writers` does it, once for each config: for tests of what is done with the writers."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from unwrite.models.discovery.findings import Discovery
from unwrite.models.discovery.writers import find_writers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_found: dict[tuple[type, str, bool], Discovery] = {}


def find_writers_once(config: PreTrainedConfig, *, padding: bool = True) -> Discovery:
    """Return what `find_writers` returns; it sees the config alone, and not where that came from."""
    values = {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}
    key = (type(config), json.dumps(values, sort_keys=True, default=repr), padding)
    if key not in _found:
        _found[key] = find_writers(config, padding=padding)
    return copy.deepcopy(_found[key])


@contextmanager
def writers_found_once() -> Iterator[None]:
    """Make pinning and verifying find the writers of each config once."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("unwrite.models.discovery.writers", "unwrite.pipeline.pinning"):
            patch.setattr(f"{module}.find_writers", find_writers_once)
        yield
