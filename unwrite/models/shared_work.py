"""Work that forward passes share: the tokens that all prompts begin with are run once per pass, not once per row.

These are the head of the chat template, and a system prompt. Their keys and values depend on no later token. They are
computed in one row and copied to all rows, and the rest of each prompt is run behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from unwrite.models.batches import accepted_inputs, do_nothing, left_padded
from unwrite.models.placement import input_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHES = ("cache", "past_key_values", "cache_params", "state")
"""Names that models give their cache, in their output and in the arguments of their forward."""


def shared_tokens(prompts: Sequence[Sequence[int]], rest: int = 1) -> list[int]:
    """Return the tokens that all prompts begin with, leaving at least `rest` tokens of each.

    Args:
        prompts: token ids, at least one prompt.
        rest: at least 1.
    """
    columns = zip(*prompts, strict=False)  # ends with the shortest
    equal = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    return list(prompts[0][: min(equal, max(0, min(map(len, prompts)) - rest))])


class SharedWork(NamedTuple):
    """The work that the forward passes over many prompts, or the trials of a search, have in common.

    prefix: tokens that every prompt begins with; they are run once per pass.
    group_of: the group of a row: an edit treats the rows of a group alike, so they continue one copy of the prefix.
    around: returns a context for the pass over the rest of some rows (`lower_layers`).
    """

    prefix: Sequence[int] = ()
    group_of: Callable[[int], int] = lambda _row: 0
    around: Callable[[Sequence[int]], AbstractContextManager[object]] = nullcontext


NOTHING_SHARED = SharedWork()


@torch.inference_mode()
def prefix_cache(
    model: PreTrainedModel,
    shared: SharedWork,
    rows: Sequence[int],
    longest: int,
    before_pass: Callable[[Sequence[int]], object] = do_nothing,
) -> dict[str, Any]:
    """Run a prefix once per group and return its cache, copied to every row, by the name that the model gives it.

    Args:
        model: a language model.
        shared: the prefix and the groups of rows.
        rows: row numbers of the batch to come.
        longest: the most tokens, padding included, that a row of the batch will grow to.
        before_pass: called before the pass with one row number of each group.

    Returns:
        The cache; empty if there is no prefix, or if the model keeps more than the keys and values of every token.
    """
    if not shared.prefix:
        return {}
    first_rows = {shared.group_of(row): row for row in reversed(rows)}
    before_pass(list(first_rows.values()))
    device = input_device(model)
    inputs = {**left_padded([shared.prefix] * len(first_rows), device), "use_cache": True, "logits_to_keep": 1}
    caches = caches_in(model(**accepted_inputs(model, inputs)))
    if len(caches) != 1 or not all(_holds_every_token(cache, longest) for cache in caches.values()):
        return {}
    groups = list(first_rows)
    copies = torch.tensor([groups.index(shared.group_of(row)) for row in rows], device=device)
    for cache in caches.values():
        cache.reorder_cache(copies)
    return caches


def prompt_inputs(
    prompts: Sequence[Sequence[int]], cached: Mapping[str, Any], device: torch.device
) -> tuple[dict[str, Tensor], int]:
    """Return `input_ids`, `attention_mask` and `position_ids` [batch, longest] of prompts, and how many columns to run.

    Padding stands on the left, or between the cached tokens and the rest of each prompt.

    Args:
        prompts: token ids.
        cached: the cache of the first tokens of every prompt, by name; empty for none.
        device: where the tensors go.
    """
    length = next((int(cache.get_seq_length()) for cache in cached.values()), 0)
    rests = left_padded([prompt[length:] for prompt in prompts], device)
    new = rests["input_ids"].shape[1]
    if length == 0:
        return rests, new
    heads = left_padded([prompt[:length] for prompt in prompts], device)
    rests["position_ids"] += length
    return {name: torch.cat([heads[name], rests[name]], dim=1) for name in rests}, new


def new_inputs(prompts: Sequence[Sequence[int]], cached: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """Return the inputs of a pass over what the cache does not hold yet; the mask covers the cached tokens too."""
    inputs, new = prompt_inputs(prompts, cached, device)
    return {name: tensor if name == "attention_mask" else tensor[:, -new:] for name, tensor in inputs.items()}


def caches_in(output: Any) -> dict[str, Any]:
    """Return the caches in a model's output, by name."""
    # By its keys: since 5.24, transformers' outputs answer to a cache's earlier names too.
    given = set(output.keys())
    return {name: output[name] for name in CACHES if name in given and output[name] is not None}


def _holds_every_token(cache: Any, longest: int) -> bool:
    """Return whether a cache is no more than the keys and values of all tokens, and stays so up to `longest`."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    def holds(layer: Any) -> bool:
        if type(layer) is DynamicSlidingWindowLayer:
            return bool(layer.sliding_window > longest)
        return type(layer) is DynamicLayer

    return type(cache) is DynamicCache and all(map(holds, cache.layers))
