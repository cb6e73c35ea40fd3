"""Fixtures for the tests of discovery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def no_grad() -> Iterator[None]:
    """No gradients, as inside `find_writers`."""
    with torch.no_grad():
        yield
