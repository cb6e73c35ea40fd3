"""The KL divergence of an edited model from its base, over the base model's own responses."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from unwrite.core.kl import kl_from_log_probs, log_probabilities
from unwrite.errors import UnwriteError, as_user_error
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.models.batches import Advance, Budget, by_token_budget, do_nothing, run_batches
from unwrite.models.generation import BeforePass
from unwrite.models.memory import Limits
from unwrite.models.nonfinite import non_finite_error
from unwrite.models.placement import size_text
from unwrite.models.shared_work import NOTHING_SHARED, SharedWork, prefix_cache
from unwrite.models.teacher_forcing import response_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Batches = Sequence[Sequence[int]]

_NON_FINITE = "Lower the bounds of max_weight in optimize.space, or set model.dtype to float32."
_IN_MEMORY = 1 << 28  # log-probabilities held in memory: a gibibyte of float32


class TeacherForced(NamedTuple):
    """Prompts with the base model's own responses, and the log-probabilities it gave their tokens.

    prompts: token ids of n prompts.
    responses: token ids of the base model's response to each.
    batches: row numbers of the prompts that share forward passes.
    tokens: the number of response tokens that count.
    log_probs: [n, m, V] float32, on the model's device up to a gibibyte. Larger ones are in a temporary file of
        4·n·m·V bytes, which is read one batch at a time.
    mask: [n, m], which of the m positions count.
    """

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]
    batches: Batches
    tokens: int
    log_probs: Tensor
    mask: Tensor


class KLDivergences(NamedTuple):
    """KL(base ‖ edited) in nats, per prompt: of the first response token, and averaged over the first m tokens."""

    first_token: list[float]
    response: list[float]


def teacher_forced_batches(
    prompts: Sequence[Sequence[int]], tokens: int, vocabulary: int, limits: Limits, *, padding_sensitive: bool
) -> list[list[int]]:
    """Group prompts into batches for teacher-forcing `tokens` response tokens.

    A batch respects the token limit of one pass and holds few enough rows for its logits: with a large vocabulary they
    are larger than everything else in it.

    Args:
        prompts: token ids.
        tokens: the number of response tokens that count.
        vocabulary: V.
        limits: what one pass may hold.
        padding_sensitive: whether the prompts of a batch must have the same length. Their responses need not: nothing
            after the end of a response is read.

    Returns:
        Row numbers of each batch.
    """
    lengths = [len(prompt) + tokens for prompt in prompts]
    most_rows = max(1, limits.logits // (tokens * vocabulary))
    return by_token_budget(lengths, limits.one_pass, most_rows, padding_sensitive=padding_sensitive)


@torch.inference_mode()
def teacher_force(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    tokens: int | None = None,
    *,
    batches: Batches | None = None,
    shared: SharedWork = NOTHING_SHARED,
    budget: Budget | None = None,
) -> TeacherForced:
    """Record the base model's log-probabilities over its own responses.

    Args:
        model: the base model.
        prompts: token ids, at least one prompt.
        responses: token ids of the model's response to each prompt.
        tokens: the number of response tokens that count; all of them by default.
        batches: row numbers of each forward pass. By default only prompts of one length share a pass, which is correct
            for every model.
        shared: work that passes share.
        budget: tokens that a forward pass may hold.

    Returns:
        The record that `measure_kl` compares an edited model with.

    Raises:
        UnwriteError: a logit is NaN or infinite; a single prompt does not fit into memory; or the disk is full.
        ValueError: there are no prompts, or not one response for each.

    Example:
        >>> model, prompts = load_model("demo/model"), [[5, 6, 7], [8, 9]]
        >>> base = teacher_force(model, prompts, generate_greedily(model, prompts, max_tokens=4))
        >>> len(base.log_probs), base.log_probs.shape[-1] == model.config.vocab_size
        (2, True)
    """
    if not prompts or len(prompts) != len(responses):
        raise ValueError(
            f"prompts must not be empty and have one response each, got {len(prompts)} and {len(responses)} responses"
        )
    longest = max(map(len, responses)) + 1
    tokens = longest if tokens is None else tokens
    if batches is None:
        batches = _default_batches(model, prompts, tokens)
    mask = torch.zeros(len(prompts), min(tokens, longest), dtype=torch.bool)
    recorded: list[Tensor] = []  # one tensor, allocated by the first pass, whose logits show the vocabulary's size

    def record(rows: Sequence[int]) -> None:
        logits, counted = _forced_logits(
            model, prompts, responses, rows, tokens=tokens, shared=shared, before_pass=do_nothing
        )
        if not recorded:
            recorded.append(_allocate((*mask.shape, logits.shape[-1]), logits.device))
        with as_user_error("The base model", _NON_FINITE):
            log_probs = log_probabilities(logits, "base").to(recorded[0].device)
        mask[rows, : counted.shape[1]] = counted.cpu()
        for index, row in enumerate(rows):
            recorded[0][row, : log_probs.shape[1]] = log_probs[index]

    run_batches(record, batches, [len(prompt) + tokens for prompt in prompts], budget or Budget())
    return TeacherForced(prompts, responses, batches, tokens, recorded[0], mask)


@torch.inference_mode()
def measure_kl(
    model: PreTrainedModel,
    teacher_forced: TeacherForced,
    batches: Batches | None = None,
    *,
    shared: SharedWork = NOTHING_SHARED,
    before_pass: BeforePass = do_nothing,
    advance: Advance = do_nothing,
    budget: Budget | None = None,
) -> KLDivergences:
    """Measure the model's KL divergence from the recorded base, with one forward pass per batch.

    Args:
        model: the edited model.
        teacher_forced: the base model's log-probabilities, of n prompts.
        batches: row numbers of each forward pass; those of `teacher_forced` by default. Row r is prompt r mod n, so
            that an edit can differ between rows.
        shared: work that passes share.
        before_pass: called before each forward pass with the numbers of its rows, in order.
        advance: called after each pass with the number of rows in it.
        budget: tokens that a forward pass may hold.

    Returns:
        KL divergences per row.

    Raises:
        UnwriteError: a logit is NaN or infinite (the message names the layer), or a single prompt does not fit into
            memory.

    Example:
        >>> model, prompts = load_model("demo/model"), [[5, 6, 7], [8, 9]]
        >>> base = teacher_force(model, prompts, generate_greedily(model, prompts, max_tokens=4))
        >>> measure_kl(model, base).first_token  # nothing is edited
        [0.0, 0.0]
    """
    prompts, responses, tokens = teacher_forced.prompts, teacher_forced.responses, teacher_forced.tokens
    batches = teacher_forced.batches if batches is None else batches
    n, count = len(prompts), 1 + max(map(max, batches))
    first_token, response = [0.0] * count, [0.0] * count

    def measure(rows: Sequence[int]) -> None:
        logits, counted = _forced_logits(
            model, prompts, responses, rows, tokens=tokens, shared=shared, before_pass=before_pass
        )
        base = teacher_forced.log_probs[[row % n for row in rows], : logits.shape[1]].to(logits.device)
        with as_user_error("The edited model", _NON_FINITE):
            kl = kl_from_log_probs(base, logits)
        averaged = ((kl * counted).sum(-1) / counted.sum(-1)).tolist()
        for row, at_first, over_response in zip(rows, kl[:, 0].tolist(), averaged, strict=True):
            first_token[row], response[row] = at_first, over_response
        advance(len(rows))

    run_batches(measure, batches, [len(prompts[row % n]) + tokens for row in range(count)], budget or Budget())
    return KLDivergences(first_token, response)


def _default_batches(model: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    limits = measuring_limits(model, "auto", prompts, tokens)
    vocabulary: int = model.config.get_text_config().vocab_size
    return teacher_forced_batches(prompts, tokens, vocabulary, limits, padding_sensitive=True)


def _allocate(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return zeros, in memory or in a temporary file that is deleted with them."""
    count = torch.Size(shape).numel()
    if count <= _IN_MEMORY:
        return torch.zeros(shape, device=device)
    with tempfile.NamedTemporaryFile(prefix="unwrite-") as file:
        free = shutil.disk_usage(file.name).free
        if 4 * count > free:
            raise UnwriteError(
                f"{size_text(4 * count)} of log-probabilities (prompts × tokens × vocabulary: "
                f"{' × '.join(map(str, shape))}) do not fit into {tempfile.gettempdir()}, which has "
                f"{size_text(free)} free. Lower kl_tokens, or set TMPDIR to a folder with more space."
            )
        return torch.from_file(file.name, shared=True, size=count).view(shape)


def _forced_logits(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    rows: Sequence[int],
    *,
    tokens: int,
    shared: SharedWork,
    before_pass: BeforePass,
) -> tuple[Tensor, Tensor]:
    """Return the logits [rows, m, V] of one pass and the mask [rows, m] of positions that count; row r is r mod n."""
    row_prompts = [prompts[row % len(prompts)] for row in rows]
    row_responses = [responses[row % len(prompts)] for row in rows]
    cached = prefix_cache(model, shared, rows, tokens + max(map(len, row_prompts)), before_pass)
    before_pass(rows)
    with shared.around(rows):
        logits, counted = response_logits(model, row_prompts, row_responses, tokens, cached)
    bad = (~logits.amax(-1).isfinite() & counted).any(-1).nonzero().flatten().tolist()
    if bad:
        # The failing prompt is run again by itself to find the layer, so its edit must be selected again.
        before_pass([rows[bad[0]]])
        failing = [*row_prompts[bad[0]], *row_responses[bad[0]][: tokens - 1]]
        raise non_finite_error(model, failing, rows[bad[0]])
    return logits, counted
