"""The base model's measurements before a search: what its responses show, what it predicts, what its layers compute."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from unwrite.errors import UnwriteError, as_user_error
from unwrite.evaluation.behaviour import behaviour_rate, decode, tokens_to_settle
from unwrite.evaluation.divergence import TeacherForced, measure_kl, teacher_force, teacher_forced_batches
from unwrite.evaluation.responding import response_texts
from unwrite.models.batches import Advance, Budget, by_token_budget, do_nothing
from unwrite.models.end_tokens import end_tokens, log_end_tokens
from unwrite.models.generation import generate_greedily
from unwrite.models.layers import decoder_layers
from unwrite.models.lower_layers import LowerLayers
from unwrite.models.memory import Limits
from unwrite.models.shared_work import SharedWork
from unwrite.pipeline.progress import Style, progress
from unwrite.search.racing import tokens_before_giving_up

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Prompts = Sequence[Sequence[int]]

_TOKENS_TO_COMPARE = 4


class BaseRun(NamedTuple):
    """How the base model is run.

    prefix: tokens that every prompt of both sets begins with.
    limits: what one forward pass may hold.
    budget: tokens that fit into memory, lowered when it runs out.
    style: how progress is shown.
    padding_sensitive: whether the prompts of a batch must have the same length.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prefix: Sequence[int]
    limits: Limits
    budget: Budget
    style: Style
    padding_sensitive: bool


class OnTarget(NamedTuple):
    """The base model on the target prompts.

    rate: its behaviour rate.
    settled_tokens: response tokens after which most of its responses have shown the behaviour.
    first_batch: row numbers of the first batch.
    layers: what its layers left behind on the prompts.
    """

    responses: Prompts
    texts: Sequence[str]
    rate: float
    settled_tokens: int
    first_batch: Sequence[int]
    layers: LowerLayers


class OnBaseline(NamedTuple):
    """The base model on the baseline prompts; `layers`: what its layers left behind on prompts and responses."""

    texts: Sequence[str]
    teacher_forced: TeacherForced
    layers: LowerLayers


def measure_target(run: BaseRun, prompts: Prompts, markers: Sequence[str], max_tokens: int) -> OnTarget:
    """Generate the base model's responses to the target prompts, and record its layers.

    Raises:
        UnwriteError: no prompt shows the behaviour, or a marker is empty once normalized.
    """
    log_end_tokens(run.model, run.tokenizer)
    layers = LowerLayers(run.model, is_continued=True)
    lengths = [len(tokens) + max_tokens for tokens in prompts]
    batches = by_token_budget(lengths, run.limits.generation, padding_sensitive=run.padding_sensitive)
    shared = SharedWork(run.prefix, around=layers.recording)
    with progress("base responses to target prompts", len(prompts), run.style) as advance:
        responses = _generate(run, prompts, max_tokens, batches=batches, shared=shared, advance=advance)
    texts = response_texts(run.tokenizer, prompts, responses)
    rate = _behaviour_rate(texts, markers)
    settled = tokens_before_giving_up(tokens_to_settle(run.tokenizer, prompts, responses, markers))
    return OnTarget(responses, texts, rate, settled, batches[0], layers)


def measure_baseline(run: BaseRun, prompts: Prompts, kl_tokens: int, vocabulary: int) -> OnBaseline:
    """Generate the first tokens of the base model's responses to the baseline prompts, and record what it predicts."""
    layers = LowerLayers(run.model, is_continued=False)
    batches = teacher_forced_batches(
        prompts, kl_tokens, vocabulary, run.limits, padding_sensitive=run.padding_sensitive
    )
    shared = SharedWork(run.prefix)
    with progress("base responses to baseline prompts", len(prompts), run.style) as advance:
        responses = _generate(run, prompts, kl_tokens, batches=batches, shared=shared, advance=advance)
    shared = SharedWork(run.prefix, around=layers.recording)
    teacher_forced = teacher_force(
        run.model, prompts, responses, kl_tokens, batches=batches, shared=shared, budget=run.budget
    )
    return OnBaseline(decode(run.tokenizer, responses), teacher_forced, layers)


def can_leave_out_layers(run: BaseRun, prompts: Prompts, target: OnTarget, baseline: OnBaseline) -> bool:
    """Return whether passes that begin at the last layer repeat the base model's measurements, bit for bit.

    They do not where layers take more from lower ones than the stream, the keys and the values.

    Args:
        run: how the base model is run.
        prompts: the target prompts.
        target: its measurements on them.
        baseline: its measurements on the baseline prompts.
    """
    last = len(decoder_layers(run.model)) - 1
    shared = SharedWork(run.prefix, around=partial(baseline.layers.resuming, layer=last))
    if any(measure_kl(run.model, baseline.teacher_forced, shared=shared, budget=run.budget).response):
        return False
    shared = SharedWork(run.prefix, around=partial(target.layers.resuming, layer=last))
    again = _generate(run, prompts, _TOKENS_TO_COMPARE, batches=[target.first_batch], shared=shared)
    return all(again[row] == target.responses[row][:_TOKENS_TO_COMPARE] for row in target.first_batch)


def share_of_raced(prefix: Sequence[int], prompts: Prompts, forced: TeacherForced, target: OnTarget) -> float:
    """Estimate the work of a trial that is stopped as early as it can be, as a share of one that runs in full.

    Counted in tokens: those of both sets behind their prefix, and those of the responses.

    Args:
        prefix: tokens that every prompt of both sets begins with.
        prompts: the target prompts.
        forced: the teacher-forced baseline prompts.
        target: the base model's measurements on the target prompts.
    """
    read = sum(len(prompt) - len(prefix) for prompt in [*prompts, *forced.prompts]) + forced.mask.sum().item()
    responses = [len(response) for response in target.responses]
    stopped = sum(min(length, target.settled_tokens) for length in responses)
    return float(read + stopped) / float(read + sum(responses))


def _generate(
    run: BaseRun,
    prompts: Prompts,
    tokens: int,
    *,
    batches: Prompts,
    shared: SharedWork,
    advance: Advance = do_nothing,
) -> list[list[int]]:
    return generate_greedily(
        run.model,
        prompts,
        tokens,
        batches=batches,
        end_ids=end_tokens(run.model, run.tokenizer),
        shared=shared,
        advance=advance,
        budget=run.budget,
    )


def _behaviour_rate(texts: Sequence[str], markers: Sequence[str]) -> float:
    with as_user_error("The marker list", "Remove that line from judge.markers."):
        rate = behaviour_rate(texts, markers)
    if rate == 0:
        raise UnwriteError(
            f"None of the {len(texts)} target validation prompts shows the behaviour in the base model, so there is "
            "nothing to remove. Check the target prompts and the markers (judge.markers)."
        )
    return rate
