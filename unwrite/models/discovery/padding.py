"""Measure whether padding changes what a model computes: recurrent mixers process it without a warning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unwrite.models.decoding import greedy_logits
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.teacher_forcing import response_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOLERANCE = 1e-6  # relative; where padding is masked out, the difference is about 1e-14 in float64
_LENGTHS = (3, 10, 24)  # their differences are not round numbers, so that blocks of tokens do not absorb the padding
_VOCABULARY = 64
_RESPONSE = [5, 6, 7]
_FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError, ArithmeticError)


def is_padding_sensitive(model: PreTrainedModel) -> bool:
    """Return whether the continuation of a prompt changes when it is padded on the left, next to longer prompts.

    Attention masks padding out; recurrences and convolutions may take it into their state or their cache, and blocks
    of tokens begin elsewhere. Such models need batches of prompts of equal length. That is always correct, only slower,
    so a model that cannot be measured counts as sensitive.

    Args:
        model: a miniature with random float64 values, every part large enough to matter, and at least 64 tokens.
    """
    generator = torch.Generator().manual_seed(4)
    prompts = [torch.randint(1, _VOCABULARY, (length,), generator=generator).tolist() for length in _LENGTHS]
    try:
        with float64_throughout(), _attention_of_loaded(model):
            alone = torch.cat([_logits(model, [prompt]) for prompt in prompts])
            together = _logits(model, prompts)
    except _FAILURES:
        return True
    change = (together - alone).norm(dim=-1) / alone.norm(dim=-1)
    return not bool((change < _TOLERANCE).all())  # NaN is a change


@contextmanager
def _attention_of_loaded(model: PreTrainedModel) -> Iterator[None]:
    """Compute attention as loaded models do while open: some models mask differently with `eager`."""
    own = model.config._attn_implementation
    if model._supports_sdpa:
        model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def _logits(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits of the first tokens after each prompt, [n, 2 × tokens, V]: in one pass, and from a cache."""
    teacher_forced, _ = response_logits(model, prompts, [_RESPONSE] * len(prompts), len(_RESPONSE))
    return torch.cat([teacher_forced, greedy_logits(model, prompts, len(_RESPONSE))], dim=1)
