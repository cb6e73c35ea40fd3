"""How far the edited model's next-token distribution is from the base model's: KL(base ‖ edited), in nats."""

import torch
from torch import Tensor


def kl_divergence(base_logits: Tensor, edited_logits: Tensor) -> Tensor:
    """KL(base ‖ edited) = Σ p (log p − log q) over the vocabulary (Kullback & Leibler 1951), in nats.

    Tokens whose logit is −inf in either model are left out of the sum: where the base has −inf the term is 0 by
    definition, where only the edited has it the term would be infinite. Neither distribution is normalized again over
    what remains. The result is clamped at 0, below which only rounding (or a token left out) can take it.

    Args:
        base_logits: [..., V].
        edited_logits: [..., V]; leading axes broadcast, so one base serves several edits.

    Returns:
        [...], float32, or float64 if either came as float64.

    Raises:
        ValueError: NaN, +inf or a row of nothing but −inf; or vocabularies of different size.
    """
    return kl_from_log_probs(log_probabilities(base_logits, "base"), edited_logits)


def kl_from_log_probs(base_log_probs: Tensor, edited_logits: Tensor) -> Tensor:
    """As `kl_divergence`, with the base model's log-probabilities computed once by `log_probabilities`.

    Args:
        base_log_probs: [..., V], in nats, normalized.
        edited_logits: [..., V]; leading axes broadcast.

    Returns:
        [...], float32, or float64 if either came as float64.

    Raises:
        ValueError: as `kl_divergence`.
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
    """Log-softmax over the last axis, in float32, or float64 if it came as that.

    Args:
        logits: [..., V].
        name: whose logits they are, for the error.

    Returns:
        [..., V], in nats; −inf stays −inf.

    Raises:
        ValueError: NaN, +inf, or a row of nothing but −inf.
    """
    _check(logits, name)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _check(logits: Tensor, name: str) -> None:
    # One maximum a row finds all three: it is NaN, +inf or −inf exactly where a row has no softmax.
    largest = logits.amax(-1)
    if bool(largest.isfinite().all()):
        return
    bad = ~largest.isfinite()
    kind = "NaN" if bool(largest.isnan().any()) else "+inf" if bool((largest == torch.inf).any()) else "only −inf"
    raise ValueError(f"{name} logits must be finite or −inf, got {kind} in {int(bad.sum())} of {largest.numel()} rows")
