"""How a model is measured: how much behaviour is left on target prompts, how far baseline prompts have moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from unwrite.core.divergence import kl_from_log_probs, log_probabilities
from unwrite.core.markers import shows_behaviour
from unwrite.models.batches import by_token_budget
from unwrite.models.generation import generate_greedily, response_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Batches = Sequence[Sequence[int]]


class ForcedResponses(NamedTuple):
    """Baseline prompts with the base model's own responses, and the log-probabilities it gave, batch by batch.

    `log_probs` are [batch, m, V] float32 on the CPU; `mask` [batch, m] says which of the m positions count.
    """

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]
    batches: Batches
    tokens: int
    log_probs: Sequence[Tensor]
    mask: Sequence[Tensor]


# Numbers of one batch's logits: a gigabyte of float32 while they and their log-softmax are compared.
_LOGITS = 1 << 25


class Divergences(NamedTuple):
    """KL(base ‖ edited) in nats: of each prompt's first response token, and averaged over its first m tokens."""

    first_token: list[float]
    response: list[float]


def forced_batches(
    prompts: Sequence[Sequence[int]], tokens: int, vocabulary: int, budget: int, *, equal_lengths: bool
) -> list[list[int]]:
    """Batches for teacher-forcing `tokens` response tokens: within the token budget, and of few enough rows.

    With a large vocabulary, the logits of a batch are larger than everything else in it. With `equal_lengths`, prompts
    of a batch have one length; their responses need not, since nothing that is read comes after a response's end.
    """
    lengths = [len(prompt) + tokens for prompt in prompts]
    most_rows = max(1, _LOGITS // (tokens * vocabulary))
    return by_token_budget(lengths, budget, most_rows, equal_lengths=equal_lengths)


def force_responses(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    batches: Batches,
    tokens: int,
) -> ForcedResponses:
    """Records the base model's log-probabilities over its own responses' first `tokens` tokens."""
    log_probs, masks = [], []
    for rows in batches:
        logits, mask = response_logits(model, [prompts[r] for r in rows], [responses[r] for r in rows], tokens)
        log_probs.append(log_probabilities(logits, "base").cpu())
        masks.append(mask.cpu())
    return ForcedResponses(prompts, responses, batches, tokens, log_probs, masks)


def measure_divergence(model: PreTrainedModel, forced: ForcedResponses) -> Divergences:
    """The model's divergence from the recorded base, teacher-forced, one forward pass a batch.

    Raises:
        UnwriteError: A logit is NaN or infinite.
    """
    first = [0.0] * len(forced.prompts)
    response = [0.0] * len(forced.prompts)
    for rows, base, mask in zip(forced.batches, forced.log_probs, forced.mask, strict=True):
        logits, _ = response_logits(
            model, [forced.prompts[r] for r in rows], [forced.responses[r] for r in rows], forced.tokens
        )
        divergence = kl_from_log_probs(base.to(logits.device), logits).cpu()
        averaged = (divergence * mask).sum(-1) / mask.sum(-1)
        for place, row in enumerate(rows):
            first[row], response[row] = float(divergence[place, 0]), float(averaged[place])
    return Divergences(first, response)


def behaviour_rate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    batches: Batches,
    *,
    max_tokens: int,
    markers: Sequence[str],
) -> float:
    """The share of prompts whose greedy response contains a marker."""
    responses = generate_greedily(model, prompts, batches, max_tokens, lambda _: None)
    shown = [shows_behaviour(text, markers) for text in decode(tokenizer, responses)]
    return sum(shown) / len(shown)


def decode(tokenizer: PreTrainedTokenizerBase, responses: Sequence[Sequence[int]]) -> list[str]:
    """Responses as text, special tokens left out."""
    return [str(tokenizer.decode(list(tokens), skip_special_tokens=True)).strip() for tokens in responses]
