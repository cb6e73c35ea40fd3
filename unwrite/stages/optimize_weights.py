"""Search for recipes that remove the behaviour and move little else, on the validation prompts."""

from __future__ import annotations

from pathlib import Path

from unwrite.editing.blocks import blocks_of_model
from unwrite.editing.exact import parameter_names
from unwrite.editing.recipe import edit_settings
from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.files.marker_lists import read_markers
from unwrite.files.records import write_json
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.models.loading import dtype_of_model, load_model
from unwrite.models.placement import parameters_of
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.templates import load_as_tokenized
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import Base, as_json, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import BASE, DIRECTIONS, FRONT, TEMPLATE, TOKENS
from unwrite.search.backend_choice import required_backend
from unwrite.search.context import SearchInputs
from unwrite.search.failures import report_failures
from unwrite.search.front import build_front
from unwrite.search.key import search_key
from unwrite.search.objective import prepare_objective
from unwrite.search.runner import run_search
from unwrite.search.space import check_spans
from unwrite.search.state import search_state
from unwrite.terms import SETS


def optimize_weights(params: Params) -> str:
    """Write artifacts/trials.csv (every trial that has ended) and artifacts/front.json (those that no other beats).

    Returns the dtype that the model computed in.
    """
    optimize = params.optimize
    base = read_base()
    check_spans(optimize.space, layers=base.layers)
    required_backend(params.runtime.backend, base.quantization)  # refused here, before the model is loaded
    settings = edit_settings(optimize, read_metadata(DIRECTIONS, "compute_directions")["orthogonalize"])
    folder = pinned_folder(base, weights=False)  # whose weights are read and checked once, by read_inputs
    dtype = dtype_of_model(folder, base.compute_dtype, params.runtime, base.quantization)
    with search_state(search_key(_key_inputs(params) | {"dtype": dtype}, Path(__file__))) as state:
        inputs = read_inputs(params, base, dtype)
        objective = prepare_objective(inputs, optimize, settings, params.runtime, earlier=state.choice)
        outcomes = run_search(
            objective,
            optimize,
            state,
            layers=base.layers,
            positions=len(inputs.directions),
            style=params.runtime.progress,
        )
    report_failures(outcomes, state.folder)
    front = build_front(outcomes, optimize, settings, base_rate=objective.context.base_rate, layers=base.layers)
    write_json(FRONT, as_json(front))
    return dtype


def read_inputs(params: Params, base: Base, dtype: str | None = None) -> SearchInputs:
    """Read everything that the search needs, and load the model, in this dtype or the one that base.json asks for."""
    target, baseline = ([row.tokens for row in read_tokens(name, "validation")] for name in SETS)
    markers = read_markers(Path(params.judge.markers))
    tensors = read_tensors(DIRECTIONS, "compute_directions")
    folder = pinned_folder(base)
    model = load_model(folder, dtype or base.compute_dtype, params.runtime, base.quantization)
    return SearchInputs(
        base=base,
        model=model,
        tokenizer=load_as_tokenized(folder),
        target=target,
        baseline=baseline,
        markers=markers,
        directions=tensors["directions"],
        baseline_means=tensors["baseline_mean"],
        blocks=blocks_of_model(parameters_of(model, parameter_names(base.writers)), folder),
    )


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
