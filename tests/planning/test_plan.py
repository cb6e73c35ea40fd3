"""A plan says what runs then take, and what to change if they don't fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.small_project import ROOT, STAGES, small_params
from tests.support.tiny import randomised
from unwrite.errors import UnwriteError
from unwrite.planning.plan import make_plan
from unwrite.planning.plan_text import plan_text
from unwrite.schema.params import Params

TOLERANCE = 0.25
# Runs one stage, and prints the highest memory of the process: where it can be had, that since it began to run Python.
PEAK = """
import resource, sys
from pathlib import Path
from tests.support.small_project import STAGES
from tests.planning.test_plan import project_params
from unwrite.planning.plan import make_plan
plan = make_plan(project_params(), measure=False)
(stage,) = (stage for stage in plan.stages if stage.stage == sys.argv[1])
STAGES[sys.argv[1]](project_params())
taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
if Path("/proc/self/status").exists():  # there, the figure above begins at that of the process that started this one
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    taken = int(line.split()[1]) * 1024
print(stage.memory["weights"], stage.peak + plan.python, taken)
"""


def project_params() -> Params:
    params = small_params()
    return params.model_copy(
        update={
            "model": params.model.model_copy(update={"source": "model", "dtype": "float32"}),
            "residuals": params.residuals.model_copy(update={"positions": (-1,)}),
            "filter": params.filter.model_copy(update={"target": False, "baseline": False}),
            "runtime": params.runtime.model_copy(update={"batch_tokens": "auto"}),
        }
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "demo/model", "model")
    shutil.copytree(ROOT / "prompts", "prompts")
    return tmp_path


def test_the_memory_of_a_run_is_as_planned(project: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained("model")
    config.update({"hidden_size": 768, "intermediate_size": 3072, "head_dim": 96, "num_attention_heads": 8})
    config.save_pretrained("model")
    randomised(AutoModelForCausalLM.from_config(config), torch.float32, 0).save_pretrained("model")
    params = project_params()
    for stage in ("list_inputs", "pin_model", "tokenize_prompts"):
        STAGES[stage](params)
    command = [sys.executable, "-c", PEAK, "extract_residuals"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    weights, planned, taken = map(int, run.stdout.split()[-3:])
    assert weights > 0.2 * taken  # so that it is not Python alone that is planned
    assert taken == pytest.approx(planned, rel=TOLERANCE)


def test_the_demo_fits_anywhere_and_is_timed(project: Path) -> None:
    plan = make_plan(project_params(), measure=True)
    assert plan.dtype == torch.float32
    assert plan.spread is None
    assert plan.stored == 2 * plan.size.parameters
    assert plan.speed is not None
    text = plan_text(plan)
    assert "It fits." in text
    assert "In all" in text
    assert "taken to have 64 tokens each" in text
    assert max(map(len, text.splitlines())) <= 120


def test_without_measuring_there_are_no_times(project: Path) -> None:
    text = plan_text(make_plan(project_params(), measure=False))
    assert "Times are estimated when" in text
    assert " s\n" not in text


def test_a_model_that_is_not_here_is_an_error(project: Path) -> None:
    params = project_params()
    params = params.model_copy(update={"model": params.model.model_copy(update={"source": "teapot"})})
    with pytest.raises(UnwriteError, match="'teapot': there is no such folder"):
        make_plan(params, measure=True)


def test_no_weights_are_needed(project: Path) -> None:
    before = make_plan(project_params(), measure=False)
    Path("model/model.safetensors").unlink()
    assert make_plan(project_params(), measure=False)._replace(python=0, free=0) == before._replace(python=0, free=0)
