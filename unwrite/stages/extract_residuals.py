"""Extract the residual stream of training and validation prompts at every layer, at the positions in params.yaml."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from unwrite.errors import UnwriteError
from unwrite.files.tensors import write_tensors
from unwrite.models.batches import Budget, by_token_budget
from unwrite.models.compute_dtype import dtype_name
from unwrite.models.loading import load_model
from unwrite.models.memory import pass_limits
from unwrite.models.placement import pass_device
from unwrite.models.prefix_check import prefix_of
from unwrite.models.quantized import describe_quantization
from unwrite.models.residuals import extract_residuals, residuals_of_batch
from unwrite.models.shared_work import SharedWork
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.environment import Environment
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import Base, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import residuals_file
from unwrite.terms import MEASURED_SPLITS, SETS, SetName, SplitName
from unwrite.workers.extraction import residuals_from_workers
from unwrite.workers.model_setup import set_up_model
from unwrite.workers.pool import open_pool

_Prompts = Mapping[tuple[SetName, SplitName], Sequence[Sequence[int]]]

logger = logging.getLogger("unwrite.stage")


def extract(params: Params) -> str | Environment:
    """Write artifacts/residuals/{target,baseline}.{train,validation}.safetensors: `residuals` [n, P, L+1, d].

    Directions are computed from the training prompts alone; the validation prompts show how well they separate others.

    Returns the dtype of the residuals, which is the model's, or what the workers computed on.
    """
    base = read_base()
    prompts = {
        (name, split): [row.tokens for row in read_tokens(name, split)] for split in MEASURED_SPLITS for name in SETS
    }
    if params.runtime.workers == 1:
        return _in_this_process(params, base, prompts)
    positions = params.residuals.positions
    with open_pool(params.runtime) as pool:
        setup = set_up_model(pool, base, params.runtime)
        for (name, split), residuals in residuals_from_workers(pool, setup, prompts, positions).items():
            write_tensors(residuals_file(name, split), {"residuals": residuals}, {"positions": positions})
        return pool.environment(setup.dtype)


def _in_this_process(params: Params, base: Base, prompts: _Prompts) -> str:
    model = load_model(pinned_folder(base), base.compute_dtype, params.runtime, base.quantization)
    if base.quantization != "none":
        logger.info("%s: %s", base.quantization, describe_quantization(model))
    positions = params.residuals.positions
    all_prompts = [tokens for rows in prompts.values() for tokens in rows]
    limits = pass_limits(
        pass_device(model),
        params.runtime.batch_tokens,
        lambda rows: residuals_of_batch(model, rows, [-1]),
        all_prompts,
    )
    budget = Budget(limits.one_pass)
    shared = SharedWork(prefix_of(model, all_prompts, padding_sensitive=base.padding_sensitive, rest=-min(positions)))
    for (name, split), rows in prompts.items():
        lengths = [len(tokens) for tokens in rows]
        batches = by_token_budget(lengths, budget.tokens, padding_sensitive=base.padding_sensitive)
        with progress(f"residuals of {name} {split} prompts", len(rows), params.runtime.progress) as advance:
            try:
                residuals = extract_residuals(
                    model, rows, positions, batches=batches, shared=shared, advance=advance, budget=budget
                )
            except UnwriteError as error:
                raise UnwriteError(f"{name} {split} prompts: {error}") from None
        write_tensors(residuals_file(name, split), {"residuals": residuals}, {"positions": positions})
    return dtype_name(model.dtype)


if __name__ == "__main__":
    run_stage(extract)
