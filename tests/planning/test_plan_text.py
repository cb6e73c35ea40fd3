"""A plan as text says what fits, what does not, and what to change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.planning.test_plan import project_params
from tests.support.small_project import ROOT
from unwrite.models.placement import size_text
from unwrite.planning import plan as planning
from unwrite.planning.plan import RunPlan, make_plan
from unwrite.planning.plan_text import plan_text, time_text
from unwrite.planning.speed import Speed


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "demo/model", "model")
    return tmp_path


@pytest.fixture
def plan(project: Path) -> RunPlan:
    return make_plan(project_params(), measure=False)


def test_what_does_not_fit_is_said_with_what_to_change(plan: RunPlan) -> None:
    weights = plan.size.parameters * 4
    tight = plan_text(plan._replace(free=plan.peak - 1))
    most = max(plan.largest.memory, key=lambda part: plan.largest.memory[part])
    assert f"Does not fit: {plan.largest.stage} needs {size_text(plan.peak)}. To change that," in tight
    assert most in ("a pass", "weights", "logits", "lower layers")
    spread = plan_text(plan._replace(free=weights, spread={"cpu": "3MB"}))
    assert "It is spread over several devices, then disk (at most cpu: 3MB)" in spread
    assert "It fits." in spread
    assert "Does not fit: one layer needs" in plan_text(plan._replace(free=1000, spread={"cpu": "3MB"}))


def test_a_quantized_model_is_said_to_be_one(plan: RunPlan) -> None:
    stored = plan.size._replace(packed=plan.size.parameters // 2, packed_bytes=plan.size.parameters // 4)
    quantized = plan._replace(quantization="nf4", size=stored)
    text = plan_text(quantized)
    assert f"{size_text(stored.weight_bytes(4))} of weights in nf4 (the rest in float32) on cpu" in text
    spread = plan_text(quantized._replace(spread={"cpu": "3MB"}))
    assert "Where it is not quantized (generate_responses), it is spread over several devices" in spread
    small = plan_text(quantized._replace(free=1000))
    assert "Use a larger device, or set model.dtype to bfloat16" in small
    assert "nf4 (extra quantized)" not in small
    assert "nf4 (extra quantized)" in plan_text(plan._replace(free=1000))


def test_workers_fit_next_to_each_other(plan: RunPlan) -> None:
    assert "It fits. 3 such processes fit" in plan_text(plan._replace(free=3 * plan.peak + 1))


def test_on_a_gpu_python_takes_no_memory_of_it(plan: RunPlan) -> None:
    on_gpu = plan._replace(device=torch.device("cuda"))
    assert plan.peak - on_gpu.peak == plan.python
    assert "On a GPU, passes are as long as" in plan_text(on_gpu)


def test_times_are_said_as_people_say_them() -> None:
    assert [time_text(seconds) for seconds in (3.4, 90, 4000, 9000)] == ["3 s", "2 min", "67 min", "2.5 h"]


def test_the_time_of_every_stage_is_that_of_its_passes(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "measure_speed", lambda _: Speed(1, 60, 60))
    timed = make_plan(project_params(), measure=True)
    text = plan_text(timed)
    for stage in timed.stages:
        (line,) = (line for line in text.splitlines() if line.startswith(stage.stage))
        assert line.endswith(time_text(Speed(1, 60, 60).seconds(stage.passes)))
