"""Keep the training prompts that do what their set stands for: show the behaviour (target), or do not (baseline)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError, as_user_error
from unwrite.evaluation.behaviour import behaviour_verdicts
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.files.marker_lists import read_markers
from unwrite.files.records import write_json
from unwrite.models.batches import Budget, by_token_budget
from unwrite.models.compute_dtype import dtype_name
from unwrite.models.loading import load_model
from unwrite.models.prefix_check import prefix_of
from unwrite.models.shared_work import SharedWork
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.environment import Environment
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.templates import load_as_tokenized, stored_template
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import as_json, read_base
from unwrite.schema.kept_prompts import KeptOfSet, KeptPrompts
from unwrite.schema.params import Params
from unwrite.schema.paths import KEPT_PROMPTS
from unwrite.terms import SETS, SetName
from unwrite.workers.model_setup import set_up_model
from unwrite.workers.pool import open_pool
from unwrite.workers.verdicts import Judging, verdicts_from_workers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger("unwrite.stage")


def filter_prompts(params: Params) -> str | Environment | None:
    """Write artifacts/kept_prompts.json.

    Validation and test prompts are all kept: rates are measured on them.

    Returns the dtype that the model computed in, or what the workers computed on; None if it was not needed.
    """
    wanted = [name for name in SETS if getattr(params.filter, name)]
    tokens = {name: [row.tokens for row in read_tokens(name, "train")] for name in SETS}
    kept = {
        name: KeptOfSet(prompts=len(rows), shown=None, rows=list(range(len(rows)))) for name, rows in tokens.items()
    }
    computed_in: str | Environment | None = None
    if wanted:
        prompts = {name: tokens[name] for name in wanted}
        if params.runtime.workers == 1:
            verdicts, computed_in = _in_this_process(params, prompts)
        else:
            verdicts, computed_in = _in_workers(params, prompts)
        for name, shown in verdicts.items():
            kept[name] = kept_of_set(name, shown, params.filter.min_prompts)
    write_json(KEPT_PROMPTS, as_json(KeptPrompts(target=kept["target"], baseline=kept["baseline"])))
    return computed_in


def _in_this_process(
    params: Params, prompts: Mapping[SetName, Sequence[Sequence[int]]]
) -> tuple[dict[SetName, list[bool]], str]:
    base = read_base()
    folder = pinned_folder(base)
    model = load_model(folder, base.compute_dtype, params.runtime, base.quantization)
    tokenizer = load_as_tokenized(folder)
    verdicts = {
        name: _shown(model, tokenizer, name, rows, params, padding_sensitive=base.padding_sensitive)
        for name, rows in prompts.items()
    }
    return verdicts, dtype_name(model.dtype)


def _in_workers(
    params: Params, prompts: Mapping[SetName, Sequence[Sequence[int]]]
) -> tuple[dict[SetName, list[bool]], Environment]:
    judging = Judging(stored_template(), read_markers(Path(params.judge.markers)), params.filter.max_tokens)
    with open_pool(params.runtime) as pool:
        setup = set_up_model(pool, read_base(), params.runtime)
        return verdicts_from_workers(pool, setup, prompts, judging), pool.environment(setup.dtype)


def kept_of_set(name: SetName, shown: Sequence[bool], least: int) -> KeptOfSet:
    """Keep the prompts of a set whose responses do what the set stands for, and say how many.

    Args:
        name: of target prompts, those are kept that show the behaviour; of baseline prompts, the others.
        shown: whether the base model's response to each prompt shows the behaviour.
        least: the fewest prompts that may be kept, where some are left out.

    Raises:
        UnwriteError: fewer are kept.
    """
    rows = [row for row, shows in enumerate(shown) if shows == (name == "target")]
    shows = "show the behaviour" if name == "target" else "do not show the behaviour"
    if len(rows) < min(least, len(shown)):
        raise UnwriteError(
            f"At least {least} {name} training prompts must {shows} in the base model (filter.min_prompts), got "
            f"{len(rows)} of {len(shown)}. Add such prompts, check judge.markers, or set filter.{name} to false."
        )
    logger.info(f"{name}: {len(rows)} of {len(shown)} training prompts {shows} and are kept.")
    return KeptOfSet(prompts=len(shown), shown=sum(shown), rows=rows)


def _shown(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: SetName,
    prompts: Sequence[Sequence[int]],
    params: Params,
    *,
    padding_sensitive: bool,
) -> list[bool]:
    longest = params.filter.max_tokens
    budget = Budget(measuring_limits(model, params.runtime.batch_tokens, prompts, longest).generation)
    lengths = [len(prompt) + longest for prompt in prompts]
    markers = read_markers(Path(params.judge.markers))
    with (
        progress(f"base responses to {name} training prompts", len(prompts), params.runtime.progress) as advance,
        as_user_error("The marker list", "Remove that line from judge.markers."),
    ):
        verdicts = behaviour_verdicts(
            model,
            tokenizer,
            prompts,
            by_token_budget(lengths, budget.tokens, padding_sensitive=padding_sensitive),
            max_tokens=longest,
            markers=markers,
            shared=SharedWork(prefix_of(model, prompts, padding_sensitive=padding_sensitive)),
            advance=advance,
            budget=budget,
        )
    return [bool(verdict) for verdict in verdicts]


if __name__ == "__main__":
    run_stage(filter_prompts)
