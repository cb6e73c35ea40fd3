"""A project in which every stage has run once on the demo model, with few prompts; each test gets its own copy."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from stages.compute_directions import compute_directions
from stages.export_adapter import export_adapter
from stages.extract_residuals import extract
from stages.generate_responses import generate_responses
from stages.merge_model import merge_model
from stages.optimize_weights import optimize_weights
from stages.pin_model import pin_model
from stages.score_responses import score_responses
from stages.select_trial import select_trial
from stages.tokenize_prompts import tokenize_prompts
from stages.write_report import write_report
from unwrite.pipeline.runs import recorded
from unwrite.schema.params import Params, load_params

ROOT = Path(__file__).parents[2]
# In the order of the pipeline.
STAGES: dict[str, Callable[[Params], None]] = {
    "pin_model": pin_model,
    "tokenize_prompts": tokenize_prompts,
    "extract_residuals": extract,
    "compute_directions": compute_directions,
    "optimize_weights": optimize_weights,
    "select_trial": select_trial,
    "merge_model": merge_model,
    "export_adapter": export_adapter,
    "generate_responses": generate_responses,
    "score_responses": score_responses,
    "write_report": write_report,
}


def run_stage(name: str, params: Params) -> None:
    """Runs a stage here as its script would, and records the run."""
    with recorded(name, params):
        STAGES[name](params)


def small_params() -> Params:
    """The project's parameters with few prompts and trials."""
    params = load_params(ROOT / "params.yaml")
    splits = params.tokenize.splits.model_copy(update={"train": 12, "validation": 8, "test": 8})
    sections = {
        "tokenize": params.tokenize.model_copy(update={"splits": splits}),
        "residuals": params.residuals.model_copy(update={"positions": (-1, -2)}),
        "optimize": params.optimize.model_copy(update={"trials": 3, "random_trials": 3, "batch": 3, "max_tokens": 12}),
        "adapter": params.adapter.model_copy(update={"rank": 2}),
        "generate": params.generate.model_copy(update={"max_tokens": 16, "kl_tokens": 4}),
        # Not what is faster here and now: another way to measure rounds otherwise.
        "runtime": params.runtime.model_copy(
            update={"progress": "none", "device": "cpu", "batch_tokens": 300, "backend": "weights"}
        ),
    }
    return params.model_copy(update=sections)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project in which every stage has run."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    shutil.copytree(ROOT / "demo/model", folder / "demo/model")
    shutil.copy(ROOT / "dvc.yaml", folder)
    with chdir(folder):
        for name in STAGES:
            run_stage(name, small_params())
    return folder


@pytest.fixture
def params() -> Params:
    """Small parameters."""
    return small_params()


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the finished project, which is the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    with chdir(folder):
        yield folder
