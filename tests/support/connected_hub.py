"""A fake hub that this process takes for the real one, and waits for no second attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._http import close_session

from tests.support.fake_hub import FakeHub, fake_hub


@contextmanager
def connected_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A fake hub that every download comes from while open."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with fake_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.endpoint + template[template.index("/{") :]
        )
        yield running
        close_session()
