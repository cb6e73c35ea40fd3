"""Limits of a pass on an accelerator: measured on one pass and one decoding step of the work to come."""

from __future__ import annotations

import pytest

from tests.support.accelerator import Accelerator
from tests.support.tiny import tiny_config, tiny_model
from unwrite.evaluation.pass_limits import measuring_limits

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30]]


def test_an_accelerator_measures_one_pass_and_one_step_from_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = Accelerator(total=10**9, a_token=5000)
    accelerator.pretend(monkeypatch, "unwrite.evaluation.pass_limits")
    model = tiny_model(tiny_config("llama"))
    passes: list[tuple[int, int]] = []
    hook = model.get_submodule("model.layers.0").register_forward_pre_hook(lambda _, x: passes.append(x[0].shape[:2]))
    limits = measuring_limits(model, "auto", PROMPTS, 20, reserved_bytes=10**8)
    rows, length = len(accelerator.passes[0]), 7 + 20 - 2
    assert passes == [(n, m) for n in (rows, rows // 2, rows) for m in (length, 1)]
    assert limits.generation == int(0.7 * (9 * 10**8 - 1000) / 5000)
    passes.clear()
    measuring_limits(model, "auto", PROMPTS, 1)
    assert {m for _, m in passes} == {7}  # a response of one token has no step
    passes.clear()
    assert measuring_limits(model, "auto", PROMPTS, 20, earlier=limits) == limits
    assert measuring_limits(model, 300, PROMPTS, 20).generation == 300
    assert passes == []
    hook.remove()
