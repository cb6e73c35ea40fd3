"""Search for recipes that remove the behaviour and move little else, on the validation prompts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from unwrite.editing.recipe import edit_settings
from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.files.records import write_json
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.models.loading import dtype_of_model
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.environment import Environment
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import Base, EditSettings, as_json, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import BASE, DIRECTIONS, FRONT, TEMPLATE, TOKENS
from unwrite.search.backend_choice import required_backend
from unwrite.search.failures import report_failures
from unwrite.search.front import build_front
from unwrite.search.inputs import read_files, read_inputs
from unwrite.search.key import search_key
from unwrite.search.objective import prepare_objective
from unwrite.search.parallel import prepare_workers
from unwrite.search.runner import Measurer, run_search
from unwrite.search.space import check_spans
from unwrite.search.state import SearchState, search_state
from unwrite.search.worker import SearchSetup
from unwrite.terms import SETS
from unwrite.workers.model_setup import set_up_model
from unwrite.workers.pool import open_pool


def optimize_weights(params: Params) -> str | Environment:
    """Write artifacts/trials.csv (every trial that has ended) and artifacts/front.json (those that no other beats).

    Returns the dtype that the model computed in, or what the workers computed on.
    """
    optimize, runtime = params.optimize, params.runtime
    base = read_base()
    check_spans(optimize.space, layers=base.layers)
    required_backend(runtime.backend, base.quantization)  # refused here, before the model is loaded
    settings = edit_settings(optimize, read_metadata(DIRECTIONS, "compute_directions")["orthogonalize"])
    if runtime.workers == 1:
        folder = pinned_folder(base, weights=False)  # whose weights are read and checked once, by read_inputs
        dtype = dtype_of_model(folder, base.compute_dtype, runtime, base.quantization)
        _search(params, base, settings, dtype, partial(_in_this_process, params, base, settings, dtype))
        return dtype
    with open_pool(runtime, optimize.batch) as pool:
        model = set_up_model(pool, base, runtime)
        setup = SearchSetup(model, read_files(params, base), optimize, settings)
        prepare = partial(prepare_workers, pool, setup)
        _search(params, base, settings, model.dtype, lambda state: prepare(state.done, state.choice))
        return pool.environment(model.dtype)


def _search(
    params: Params, base: Base, settings: EditSettings, dtype: str, prepare: Callable[[SearchState], Measurer]
) -> None:
    """Search from where the record ends, with what measures trials, and write the front."""
    optimize = params.optimize
    with search_state(search_key(_key_inputs(params) | {"dtype": dtype}, Path(__file__))) as state:
        objective = prepare(state)
        outcomes = run_search(
            objective,
            optimize,
            state,
            layers=base.layers,
            positions=len(read_tensors(DIRECTIONS, "compute_directions")["directions"]),
            style=params.runtime.progress,
        )
    report_failures(outcomes, state.folder)
    front = build_front(outcomes, optimize, settings, base_rate=objective.base_rate, layers=base.layers)
    write_json(FRONT, as_json(front))


def _in_this_process(params: Params, base: Base, settings: EditSettings, dtype: str, state: SearchState) -> Measurer:
    inputs = read_inputs(params, base, dtype)
    return prepare_objective(inputs, params.optimize, settings, params.runtime, earlier=state.choice)


def _key_inputs(params: Params) -> dict[str, object]:
    """Return everything that decides the trials; their number is left out, so that more of them extend the search."""
    tokens = [TOKENS / TEMPLATE, *(TOKENS / f"{name}.validation.jsonl" for name in SETS)]
    files = [BASE, DIRECTIONS, Path(params.judge.markers), *tokens]
    for file in files:
        if not file.is_file():
            raise UnwriteError(f"{file} is missing: run `dvc repro`, or fix the path in params.yaml.")
    settings = params.optimize.model_dump(mode="json", exclude={"trials"})
    return {"files": {str(file): sha256_of(file) for file in files}, "optimize": settings}


if __name__ == "__main__":
    run_stage(optimize_weights)
