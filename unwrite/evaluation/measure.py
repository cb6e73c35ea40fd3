"""How a model is measured: how much behaviour is left on target prompts, how far baseline prompts have moved."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from unwrite.core.kl import kl_from_log_probs, log_probabilities
from unwrite.core.markers import shows_behaviour, shows_for_good
from unwrite.errors import UnwriteError
from unwrite.models.batches import Budget, by_token_budget, run_batches
from unwrite.models.generation import BeforePass, do_nothing, generate_decided, greedy_logits, response_logits
from unwrite.models.memory import BatchTokens, Limits, pass_limits
from unwrite.models.nonfinite import non_finite_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Batches = Sequence[Sequence[int]]


class TeacherForced(NamedTuple):
    """Baseline prompts with the base model's own responses, and the log-probabilities it gave their tokens.

    `log_probs` are [n, m, V] float32, `mask` [n, m] says which of the m positions count. Up to a gibibyte they lie on
    the model's device; beyond that in a temporary file of n·m·V·4 bytes, of which one batch at a time is read.
    """

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]
    batches: Batches
    tokens: int
    log_probs: Tensor
    mask: Tensor


_IN_MEMORY = 1 << 28  # numbers of log-probabilities, a gibibyte of float32


class KLDivergences(NamedTuple):
    """KL(base ‖ edited) in nats: of each prompt's first response token, and averaged over its first m tokens."""

    first_token: list[float]
    response: list[float]


def measuring_limits(
    model: PreTrainedModel,
    batch_tokens: BatchTokens,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    *,
    kept: int = 0,
    earlier: Limits | None = None,
) -> Limits:
    """What passes of this model may hold that generate `max_tokens` tokens to each prompt, or teacher-force fewer.

    Args:
        model: In the memory of its device.
        batch_tokens: Tokens of one pass, or `auto`. On an accelerator, a pass over a few rows and a step from what is
            cached of it are then measured.
        prompts: All that there will be.
        max_tokens: Of a response.
        kept: Bytes that will be taken beside the passes.
        earlier: Limits of the same work's earlier part, as in `pass_limits`.
    """

    def run(rows: list[list[int]]) -> None:
        greedy_logits(model, rows, min(2, max_tokens))

    return pass_limits(model.device, batch_tokens, run, prompts, max_tokens, kept=kept, earlier=earlier)


def teacher_forced_batches(
    prompts: Sequence[Sequence[int]], tokens: int, vocabulary: int, limits: Limits, *, padding_sensitive: bool
) -> list[list[int]]:
    """Batches for teacher-forcing `tokens` response tokens: within the limits of one pass, and of few enough rows.

    With a large vocabulary, the logits of a batch are larger than everything else in it. With `padding_sensitive`,
    prompts of a batch have one length; their responses need not, since nothing that is read comes after a response's
    end.
    """
    lengths = [len(prompt) + tokens for prompt in prompts]
    most_rows = max(1, limits.logits // (tokens * vocabulary))
    return by_token_budget(lengths, limits.one_pass, most_rows, padding_sensitive=padding_sensitive)


@torch.inference_mode()
def teacher_force(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    batches: Batches,
    tokens: int,
    *,
    budget: Budget | None = None,
) -> TeacherForced:
    """Records the base model's log-probabilities over its own responses' first `tokens` tokens.

    Raises:
        UnwriteError: A logit is NaN or infinite; a single prompt doesn't fit into memory; or the disk has no room.
    """
    longest = min(tokens, max(map(len, responses)) + 1)
    mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
    log_probs: Tensor | None = None
    empty = TeacherForced(prompts, responses, batches, tokens, mask, mask)

    def record(rows: Sequence[int]) -> None:
        nonlocal log_probs
        logits, counted = _forced_logits(model, empty, rows, do_nothing)
        if log_probs is None:
            log_probs = _room_for((len(prompts), longest, logits.shape[-1]), logits.device)
        found = log_probabilities(logits, "base").to(log_probs.device)
        mask[rows, : counted.shape[1]] = counted.cpu()
        for place, row in enumerate(rows):
            log_probs[row, : found.shape[1]] = found[place]

    run_batches(record, batches, [len(prompt) + tokens for prompt in prompts], budget or Budget())
    assert log_probs is not None
    return empty._replace(log_probs=log_probs)


def _room_for(shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Zeros, in memory or in a file that goes with them."""
    count = shape[0] * shape[1] * shape[2]
    if count <= _IN_MEMORY:
        return torch.zeros(shape, device=device)
    with tempfile.NamedTemporaryFile(prefix="unwrite-") as file:
        free = shutil.disk_usage(file.name).free
        if 4 * count > free:
            raise UnwriteError(
                f"{4 * count / 1e9:.1f} GB of log-probabilities (prompts × tokens × vocabulary: "
                f"{' × '.join(map(str, shape))}) don't fit into {tempfile.gettempdir()}, which has room for "
                f"{free / 1e9:.1f}. Lower kl_tokens, or set TMPDIR to a folder with more room."
            )
        return torch.from_file(file.name, shared=True, size=count).view(shape)


@torch.inference_mode()
def measure_kl(
    model: PreTrainedModel,
    teacher_forced: TeacherForced,
    batches: Batches | None = None,
    *,
    before_pass: BeforePass = do_nothing,
    budget: Budget | None = None,
) -> KLDivergences:
    """The model's divergence from the recorded base, teacher-forced, one forward pass a batch.

    Args:
        model: The edited model.
        teacher_forced: Of n prompts.
        batches: Row numbers of each forward pass, `teacher_forced`'s own if not given. Rows may run to a multiple of n:
            row r is prompt r mod n, for what edits some rows otherwise than others.
        before_pass: Called before each forward pass with the numbers of the rows in it, in order.
        budget: Tokens a forward pass may hold.

    Returns:
        By row.

    Raises:
        UnwriteError: A logit is NaN or infinite (names the layer); or a single prompt doesn't fit into memory.
    """
    batches = teacher_forced.batches if batches is None else batches
    n, count = len(teacher_forced.prompts), 1 + max(map(max, batches))
    first, response = [0.0] * count, [0.0] * count

    def measure(rows: Sequence[int]) -> None:
        logits, counted = _forced_logits(model, teacher_forced, rows, before_pass)
        base = teacher_forced.log_probs[[row % n for row in rows], : logits.shape[1]].to(logits.device)
        kl = kl_from_log_probs(base, logits)
        averaged = ((kl * counted).sum(-1) / counted.sum(-1)).tolist()
        for row, at_first, over_response in zip(rows, kl[:, 0].tolist(), averaged, strict=True):
            first[row], response[row] = at_first, over_response

    lengths = [len(teacher_forced.prompts[row % n]) + teacher_forced.tokens for row in range(count)]
    run_batches(measure, batches, lengths, budget or Budget())
    return KLDivergences(first, response)


def _forced_logits(
    model: PreTrainedModel, teacher_forced: TeacherForced, rows: Sequence[int], before_pass: BeforePass
) -> tuple[Tensor, Tensor]:
    prompts = [teacher_forced.prompts[row % len(teacher_forced.prompts)] for row in rows]
    responses = [teacher_forced.responses[row % len(teacher_forced.prompts)] for row in rows]
    before_pass(rows)
    logits, counted = response_logits(model, prompts, responses, teacher_forced.tokens)
    bad = (~logits.amax(-1).isfinite() & counted).any(-1).nonzero().flatten().tolist()
    if bad:
        before_pass([rows[bad[0]]])
        raise non_finite_error(model, [*prompts[bad[0]], *responses[bad[0]][: teacher_forced.tokens - 1]], rows[bad[0]])
    return logits, counted


def behaviour_verdicts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    batches: Batches,
    *,
    max_tokens: int,
    markers: Sequence[str],
    before_pass: BeforePass = do_nothing,
    budget: Budget | None = None,
) -> list[bool]:
    """Whether each prompt's greedy response of at most `max_tokens` tokens contains a marker.

    A response is generated no further than to where it contains one for good: the verdicts are those of whole ones.

    Raises:
        UnwriteError: As `generate_decided`; or as `shows_behaviour`.
    """
    certain = contains_for_good(tokenizer, markers)
    responses = generate_decided(
        model,
        prompts,
        batches,
        max_tokens,
        lambda _row, response: certain(response),
        before_pass=before_pass,
        budget=budget,
    )
    return [shows_behaviour(text, markers) for text in decode(tokenizer, responses)]


def contains_for_good(tokenizer: PreTrainedTokenizerBase, markers: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """What says of a response's tokens so far whether the text holds a marker, whatever tokens follow."""
    # Bytes that stand for themselves are read together, up to the next token that is text: one that is wrong among them
    # takes back those before it. Special tokens are left out, so they end no such run.
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    ids = [tokenizer.convert_tokens_to_ids(name) for name in names]
    undone = {
        number
        for number, name in zip(ids, names, strict=True)
        if isinstance(number, int) and tokenizer.convert_ids_to_tokens(number) == name
    }
    undone |= {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}

    def certain(tokens: Sequence[int]) -> bool:
        return tokens[-1] not in undone and shows_for_good(decode(tokenizer, [tokens])[0], markers)

    return certain


def decode(tokenizer: PreTrainedTokenizerBase, responses: Sequence[Sequence[int]]) -> list[str]:
    """Responses as text, special tokens left out.

    Blanks before punctuation stay: taking them out would rewrite what a model said, and change text that was there.
    """
    return [
        str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()
        for tokens in responses
    ]
