"""The divergence of the edited model's next-token distribution from the base model's: KL(base ‖ edited), in nats."""

import torch
from torch import Tensor


def kl_divergence(base_logits: Tensor, edited_logits: Tensor) -> Tensor:
    """Compute KL(base ‖ edited) = Σ p (log p − log q) over the vocabulary (Kullback & Leibler 1951), in nats.

    Tokens whose logit is −inf in either model are left out of the sum: where the base has −inf the term is 0 by
    definition, where only the edited model has it the term would be infinite. Neither distribution is normalized again
    over the remaining tokens. The result is clamped at 0; only rounding, or a token left out, can make it negative.

    Args:
        base_logits: logits of the base model, [..., V].
        edited_logits: logits of the edited model, [..., V]; leading axes broadcast, so one base serves several edits.

    Returns:
        Divergences in nats, [...], float32, or float64 if either input is float64.

    Raises:
        ValueError: a logit is NaN or +inf, a row is all −inf, or the vocabularies differ in size.
    """
    return kl_from_log_probs(log_probabilities(base_logits, "base"), edited_logits)


def kl_from_log_probs(base_log_probs: Tensor, edited_logits: Tensor) -> Tensor:
    """Compute `kl_divergence` from the base model's log-probabilities, which `log_probabilities` computes once.

    Args:
        base_log_probs: normalized log-probabilities in nats, [..., V].
        edited_logits: logits of the edited model, [..., V]; leading axes broadcast.

    Returns:
        Divergences in nats, [...], float32, or float64 if either input is float64.

    Raises:
        ValueError: as in `kl_divergence`.
    """
    if base_log_probs.shape[-1] != edited_logits.shape[-1]:
        raise ValueError(
            f"both models must have the same vocabulary, got {base_log_probs.shape[-1]} tokens in the base and "
            f"{edited_logits.shape[-1]} in the edited model"
        )
    _check(base_log_probs, "base")
    log_p, log_q = base_log_probs, log_probabilities(edited_logits, "edited")
    counted = (log_p > -torch.inf) & (log_q > -torch.inf)
    terms = torch.where(counted, log_p.exp() * (log_p - log_q), 0.0)
    return terms.sum(-1).clamp(min=0)


def log_probabilities(logits: Tensor, name: str = "model") -> Tensor:
    """Compute the log-softmax over the last axis, in float32, or in float64 for float64 logits.

    Args:
        logits: logits, [..., V].
        name: the model they are from, for the error.

    Returns:
        Log-probabilities in nats, [..., V]; −inf stays −inf.

    Raises:
        ValueError: a logit is NaN or +inf, or a row is all −inf.
    """
    _check(logits, name)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _check(logits: Tensor, name: str) -> None:
    # The maximum of a row finds all three: it is NaN, +inf or −inf exactly where the row has no softmax.
    largest = logits.amax(-1)
    if bool(largest.isfinite().all()):
        return
    bad = ~largest.isfinite()
    value = "NaN" if bool(largest.isnan().any()) else "+inf" if bool((largest == torch.inf).any()) else "only −inf"
    raise ValueError(f"{name} logits must be finite or −inf, got {value} in {int(bad.sum())} of {largest.numel()} rows")
