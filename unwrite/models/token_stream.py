"""One response, token by token, to a single prompt: the most likely tokens, or sampled ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unwrite.models.decoding import DecodingBatch
from unwrite.models.nonfinite import non_finite_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Choose = Callable[[Tensor], int]
"""Choose the next token from its logits [V]."""


def most_likely(logits: Tensor) -> int:
    """Return the token with the greatest logit."""
    return int(logits.argmax())


def sampled(temperature: float, seed: int) -> Choose:
    """Return a function that samples from softmax(logits / temperature), the same tokens for the same seed.

    Args:
        temperature: above 0; 1 samples from the model's own distribution.
        seed: of the generator, which all calls share.
    """
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: Tensor) -> int:
        probabilities = torch.softmax(logits.double().cpu() / temperature, dim=-1)
        return int(torch.multinomial(probabilities, 1, generator=generator))

    return choose


@torch.inference_mode()
def stream_tokens(
    model: PreTrainedModel,
    prompt: Sequence[int],
    max_tokens: int,
    *,
    end_ids: Collection[int],
    choose: Choose = most_likely,
) -> Iterator[int]:
    """Yield the tokens of a response as they are generated, without the end token that closes it.

    Args:
        model: a language model.
        prompt: token ids.
        max_tokens: the longest response.
        end_ids: tokens that end a response.
        choose: the next token from its logits.

    Raises:
        UnwriteError: a logit is NaN or infinite; the message names the layer.
    """
    ends, response = frozenset(end_ids), list[int]()
    batch = DecodingBatch(model, [prompt])
    while len(response) < max_tokens:
        logits = batch.next_logits()[0]
        if not bool(logits.max().isfinite()):
            raise non_finite_error(model, [*prompt, *response], 0)
        token = choose(logits)
        if token in ends:
            return
        response.append(token)
        yield token
        batch.append(torch.tensor([token]))
