"""What all tests share: one thread, no network, the same hypothesis examples every time, and marks by folder."""

import os

# Before transformers or the hub's library is imported: both read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Also in processes that tests start: with a worker of pytest-xdist on every core, more threads wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from unwrite.pipeline.logs import log_to_stderr

torch.set_num_threads(1)
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

TESTS = Path(__file__).parent
PIPELINE = {"end_to_end", "stages"}  # folders whose tests run stages
ZOO = ("zoo_config", "zoo_model", "subject")  # functions that make a model of the zoo


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the folders that run stages, and of the modules that import the zoo; the former come first.

    They take longest, and what comes last should be short: then the workers of pytest-xdist end at the same time.
    """
    items.sort(key=lambda item: item.path.relative_to(TESTS).parts[0] not in PIPELINE)
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in PIPELINE:
            item.add_marker(pytest.mark.pipeline)
        if isinstance(item, pytest.Function) and any(hasattr(item.module, name) for name in ZOO):
            item.add_marker(pytest.mark.zoo)


@pytest.fixture(autouse=True)
def _messages() -> Iterator[None]:
    """Messages of stages and library code on stderr, as when a stage or a command runs."""
    with log_to_stderr():
        yield
