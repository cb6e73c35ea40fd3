"""The context that all trials of a search share: the model, its prompts, and the base model's own measurements."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from unwrite.core.edit import Blocks
from unwrite.core.markers import markers_in_all
from unwrite.editing.basis import vectors_of_search
from unwrite.editing.edit_cache import EditCache, prepare_products
from unwrite.editing.exact import parameter_names
from unwrite.editing.recipe import applied_norms
from unwrite.evaluation.divergence import TeacherForced
from unwrite.models.batches import Advance, Budget, do_nothing
from unwrite.models.lower_layers import LowerLayers
from unwrite.models.memory import Limits
from unwrite.models.placement import parameters_of
from unwrite.models.prefix_check import prefix_of
from unwrite.pipeline.progress import Style, progress
from unwrite.schema.artifacts import Base, EditSettings, ParameterLayout, Writer
from unwrite.schema.params import Optimize, Space
from unwrite.search.base_measurements import (
    BaseRun,
    Prompts,
    can_leave_out_layers,
    measure_baseline,
    measure_target,
    share_of_raced,
)
from unwrite.search.racing import ANY_TRIAL, Standard

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class SearchInputs(NamedTuple):
    """Everything a search reads, loaded.

    base: record of the pinned model.
    model: the model, in the memory of its device.
    tokenizer: its tokenizer.
    target: token ids of the target validation prompts.
    baseline: token ids of the baseline validation prompts.
    markers: phrases that mark the behaviour.
    directions: unit vectors, [P, L+1, d].
    baseline_means: means over baseline prompts, [P, L+1, d].
    blocks: reads the weight of a writer, block by block.
    """

    base: Base
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    target: Prompts
    baseline: Prompts
    markers: Sequence[str]
    directions: Tensor
    baseline_means: Tensor
    blocks: Callable[[ParameterLayout], Blocks]


def do_not_count() -> None:
    """Count no trial: the default of `EvaluationContext.end_trial`."""


class EvaluationContext(NamedTuple):
    """The context that the measurements of all trials share.

    cache: closed forms of the edits of every writer.
    base_rate: behaviour rate of the base model on the target prompts.
    teacher_forced: baseline prompts with the base model's responses.
    max_kl: KL divergence above which no response is generated, if any.
    limits: what one forward pass may hold.
    budget: tokens that fit into memory, lowered when it runs out.
    prefix: tokens that every prompt of both sets begins with.
    target_layers: what the base model's layers left behind on the target prompts; None to run every layer.
    forced_layers: the same on the teacher-forced prompts.
    settled_tokens: response tokens before which no trial is given up.
    standard: what a trial must beat to be measured in full.
    share_of_raced: the work of a trial that is stopped at once, as a share of one that runs in full; an estimate.
    advance: called with the number of prompts measured.
    end_trial: called after each trial.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    writers: Sequence[Writer]
    cache: EditCache
    target: Prompts
    base_rate: float
    teacher_forced: TeacherForced
    markers: Sequence[str]
    max_tokens: int
    max_kl: float | None
    vocabulary: int
    padding_sensitive: bool
    limits: Limits
    budget: Budget
    prefix: Sequence[int] = ()
    target_layers: LowerLayers | None = None
    forced_layers: LowerLayers | None = None
    settled_tokens: int = 0
    standard: Standard = ANY_TRIAL
    share_of_raced: float = 1.0
    advance: Advance = do_nothing
    end_trial: Callable[[], object] = do_not_count


def prepare_context(
    inputs: SearchInputs, optimize: Optimize, settings: EditSettings, limits: Limits, style: Style
) -> EvaluationContext:
    """Measure the base model and prepare the closed forms of all edits that the search can try.

    Args:
        inputs: everything the search reads.
        optimize: section `optimize` of params.yaml.
        settings: settings that all trials share.
        limits: what one forward pass may hold.
        style: how progress is shown.

    Raises:
        UnwriteError: no target prompt shows the behaviour; a marker is empty once normalized; a weight is unreadable.
    """
    base = inputs.base
    budget = Budget()
    prefix = prefix_of(inputs.model, [*inputs.target, *inputs.baseline], padding_sensitive=base.padding_sensitive)
    run = BaseRun(inputs.model, inputs.tokenizer, prefix, limits, budget, style, base.padding_sensitive)
    target = measure_target(run, inputs.target, inputs.markers, optimize.max_tokens)
    baseline = measure_baseline(run, inputs.baseline, optimize.kl_tokens, base.vocabulary)
    _warn_about_common_markers(inputs.markers, [*target.texts, *baseline.texts])
    leave_out = can_leave_out_layers(run, inputs.target, target, baseline)
    return EvaluationContext(
        model=inputs.model,
        tokenizer=inputs.tokenizer,
        writers=base.writers,
        cache=_edit_cache(inputs, optimize.space, settings, style),
        target=inputs.target,
        base_rate=target.rate,
        teacher_forced=baseline.teacher_forced,
        markers=inputs.markers,
        max_tokens=optimize.max_tokens,
        max_kl=optimize.max_kl,
        vocabulary=base.vocabulary,
        padding_sensitive=base.padding_sensitive,
        limits=limits,
        budget=budget,
        prefix=prefix,
        target_layers=target.layers if leave_out else None,
        forced_layers=baseline.layers if leave_out else None,
        settled_tokens=target.settled_tokens,
        share_of_raced=share_of_raced(prefix, inputs.target, baseline.teacher_forced, target),
    )


def _warn_about_common_markers(markers: Sequence[str], texts: Sequence[str]) -> None:
    for marker in markers_in_all(markers, texts):
        logger.warning(
            f"every base response of both sets contains the marker {marker!r}, so it does not separate them."
        )


def _edit_cache(inputs: SearchInputs, space: Space, settings: EditSettings, style: Style) -> EditCache:
    """Return a cache with the products of every writer and the vectors that the search can need."""
    base = inputs.base
    cache = EditCache(
        blocks=inputs.blocks,
        parameters=parameters_of(inputs.model, parameter_names(base.writers)),
        norm_preservation=settings.norm_preservation,
        directions=inputs.directions,
        baseline_means=inputs.baseline_means,
    )
    writers = [writer.model_copy(update={"norms": applied_norms(writer, settings)}) for writer in base.writers]
    wanted = partial(
        vectors_of_search,
        space=space,
        layers=base.layers,
        positions=len(inputs.directions),
        biprojected=settings.orthogonalize == "biprojected",
    )
    with progress("products of weights", len(writers), style) as advance:
        for writer in writers:
            prepare_products(cache, [writer], wanted)
            advance(1)
    return cache
