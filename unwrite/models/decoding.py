"""Decoding: a batch of sequences that grows by one token per forward pass, with the cache that the model keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unwrite.models.batches import accepted_inputs
from unwrite.models.placement import input_device
from unwrite.models.shared_work import caches_in, prompt_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CACHE_MODULE = "transformers.cache_utils"


@torch.inference_mode()
def greedy_logits(model: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: int) -> Tensor:
    """Compute the logits [n, tokens, V] that predict the first tokens of each greedy response, for one batch.

    The first logits come from the prompt, the others from the cache. No token ends a response.
    """
    batch = DecodingBatch(model, prompts)
    steps = []
    for _ in range(tokens):
        steps.append(batch.next_logits())
        batch.append(steps[-1].argmax(-1))
    return torch.stack(steps, dim=1)


class DecodingBatch:
    """Sequences of one length, padded on the left, that grow by one token per forward pass; mutable."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        cached: Mapping[str, Any] | None = None,
    ) -> None:
        """Start at the prompts.

        Args:
            model: a language model; its cache is used if it has one.
            prompts: token ids.
            cached: cache of the first tokens of every prompt, by name (`shared_work.prefix_cache`).
        """
        self.model = model
        self.cached: dict[str, Any] = dict(cached or {})
        self.inputs, self._new = prompt_inputs(prompts, self.cached, input_device(model))
        self.is_first_pass = True

    def next_logits(self) -> Tensor:
        """Run one forward pass and return the logits [batch, V] that predict the next token of each sequence."""
        # With a cache, the model itself selects the inputs it needs. Without one, the whole sequence is run again.
        prepare: Callable[..., dict[str, Any]] = self.model.prepare_inputs_for_generation  # type: ignore[assignment]
        inputs = prepare(
            **self.inputs,
            **self.cached,
            next_sequence_length=self._new if self.cached else None,
            is_first_iteration=self.is_first_pass,
            use_cache=True,
            logits_to_keep=1,
        )
        self.is_first_pass, self._new = False, 1
        output = self.model(**accepted_inputs(self.model, inputs))
        self.cached = caches_in(output)
        logits: Tensor = output.logits[:, -1]
        return logits

    def append(self, tokens: Tensor) -> None:
        """Append one token [batch] to each sequence."""
        ids, mask, positions = self.inputs["input_ids"], self.inputs["attention_mask"], self.inputs["position_ids"]
        self.inputs = {
            "input_ids": torch.cat([ids, tokens.to(ids.device)[:, None]], dim=1),
            "attention_mask": torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1),
            "position_ids": torch.cat([positions, positions[:, -1:] + 1], dim=1),
        }

    def keep(self, members: Sequence[int]) -> bool:
        """Keep only these sequences; change nothing and return False if the cache cannot be reduced."""
        if not all(map(_is_reducible, self.cached.values())):
            return False
        chosen = torch.tensor(members, dtype=torch.long, device=self.inputs["input_ids"].device)
        for cache in self.cached.values():
            cache.reorder_cache(chosen)
        self.inputs = {name: tensor[chosen] for name, tensor in self.inputs.items()}
        return True


def _is_reducible(cache: Any) -> bool:
    # What transformers reorders for beam search it can also reorder into fewer rows. The caches and cache layers of a
    # model's own code may hold more than they reorder.
    from transformers import DynamicCache

    return type(cache) is DynamicCache and all(type(layer).__module__ == _CACHE_MODULE for layer in cache.layers)
