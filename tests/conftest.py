"""What every test has in common: one thread, no network, and hypothesis that tries the same examples every time."""

import os

# Before transformers or the hub's library is imported: both read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from unwrite.pipeline.logs import log_to_stderr

torch.set_num_threads(1)
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _messages() -> Iterator[None]:
    """Messages of stages and library code appear on stderr, as when a stage or a command runs."""
    with log_to_stderr():
        yield
