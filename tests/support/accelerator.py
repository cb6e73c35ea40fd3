"""A fake of an accelerator's memory statistics, for tests that run on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from unwrite.models.memory import Limits, pass_limits

CUDA = torch.device("cuda", 1)


class Accelerator:
    """The statistics of a device: each pass takes memory per token, and a constant amount in addition."""

    def __init__(self, total: int, a_token: int, always: int = 0, workspace: int = 0) -> None:
        self.total, self.a_token, self.always, self.workspace = total, a_token, always, workspace
        self.taken = self.peak = self.held = 1000
        self.passes: list[list[list[int]]] = []

    def run(self, rows: list[list[int]]) -> None:
        """Run a pass; the first also takes a workspace, which stays allocated."""
        if not self.passes:
            self.taken += self.workspace
        self.passes.append(rows)
        self.peak = max(self.peak, self.taken + self.always + self.a_token * sum(map(len, rows)))
        self.held = max(self.held, self.peak)
        if self.peak > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def reset(self, device: torch.device) -> None:
        assert device == CUDA
        self.peak = self.taken

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Accelerator:
        """Replace torch's statistics by this device's."""
        fakes: dict[str, Callable[[torch.device], Any]] = {
            "memory_allocated": lambda _: self.taken,
            "max_memory_allocated": lambda _: self.peak,
            "memory_reserved": lambda _: self.held,
            "mem_get_info": lambda _: (self.total - self.held, self.total),
            "reset_peak_memory_stats": self.reset,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        return self

    def pretend(self, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
        """Make a module see this device in place of the CPU: its passes run, and are counted here."""

        def limits(
            _: torch.device, batch_tokens: Any, run: Callable[[Any], object], *rest: Any, **named: Any
        ) -> Limits:
            def counted(rows: list[list[int]]) -> None:
                run(rows)
                self.run(rows)

            return pass_limits(CUDA, batch_tokens, counted, *rest, **named)

        self.install(monkeypatch)
        monkeypatch.setattr(f"{module}.pass_limits", limits)
