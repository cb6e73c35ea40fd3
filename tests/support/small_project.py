"""The stages as functions, and parameters with which all of them run in seconds on the demo model."""

from collections.abc import Callable
from pathlib import Path

from unwrite.pipeline.environment import Environment
from unwrite.pipeline.runs import recorded
from unwrite.schema.params import Params, load_params
from unwrite.stages.check_causality import check_causality
from unwrite.stages.check_gates import check_gates
from unwrite.stages.compute_directions import compute_directions
from unwrite.stages.export_adapter import export_adapter
from unwrite.stages.extract_residuals import extract
from unwrite.stages.filter_prompts import filter_prompts
from unwrite.stages.generate_responses import generate_responses
from unwrite.stages.judge_responses import judge_responses
from unwrite.stages.list_inputs import list_inputs
from unwrite.stages.measure_geometry import measure_geometry
from unwrite.stages.merge_model import merge_model
from unwrite.stages.optimize_weights import optimize_weights
from unwrite.stages.pin_model import pin_model
from unwrite.stages.run_benchmarks import run_benchmarks
from unwrite.stages.score_responses import score_responses
from unwrite.stages.select_trial import select_trial
from unwrite.stages.tokenize_prompts import tokenize_prompts
from unwrite.stages.tokenize_sets import tokenize_sets
from unwrite.stages.write_report import write_report

ROOT = Path(__file__).parents[2]
# In the order of the pipeline.
STAGES: dict[str, Callable[[Params], str | Environment | None]] = {
    "list_inputs": list_inputs,
    "pin_model": pin_model,
    "tokenize_prompts": tokenize_prompts,
    "extract_residuals": extract,
    "filter_prompts": filter_prompts,
    "compute_directions": compute_directions,
    "optimize_weights": optimize_weights,
    "select_trial": select_trial,
    "merge_model": merge_model,
    "export_adapter": export_adapter,
    "measure_geometry": measure_geometry,
    "check_causality": check_causality,
    "run_benchmarks": run_benchmarks,
    "tokenize_sets": tokenize_sets,
    "generate_responses": generate_responses,
    "judge_responses": judge_responses,
    "score_responses": score_responses,
    "write_report": write_report,
    "check_gates": check_gates,
}


def run_stage(name: str, params: Params) -> None:
    """Run a stage in the current folder as its script would, and record the run."""
    with recorded(name, params):
        STAGES[name](params)


def small_params() -> Params:
    """Return the project's parameters with few prompts and trials."""
    params = load_params(ROOT / "params.yaml")
    splits = params.tokenize.splits.model_copy(update={"train": 12, "validation": 8, "test": 8})
    sections = {
        "tokenize": params.tokenize.model_copy(update={"splits": splits}),
        "residuals": params.residuals.model_copy(update={"positions": (-1, -2)}),
        "optimize": params.optimize.model_copy(update={"trials": 3, "random_trials": 3, "batch": 3, "max_tokens": 12}),
        "adapter": params.adapter.model_copy(update={"rank": 2}),
        "evaluate": params.evaluate.model_copy(update={"gates": ("kl_response.high <= 100",)}),
        "generate": params.generate.model_copy(update={"max_tokens": 16, "kl_tokens": 4}),
        # Fixed: the fastest backend depends on the machine, and another one rounds differently.
        "runtime": params.runtime.model_copy(
            update={"progress": "none", "device": "cpu", "batch_tokens": 300, "backend": "weights"}
        ),
    }
    return params.model_copy(update=sections)
