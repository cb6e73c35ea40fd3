"""The residual stream at a few token positions, recorded by hooks: full hidden states are never kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.batches import (
    FORWARD_TOKENS,
    Advance,
    Budget,
    accepted_inputs,
    do_nothing,
    run_batches,
    unpadded_batches,
)
from unwrite.models.layers import decoder_layers, layer_output, stream_argument
from unwrite.models.placement import input_device
from unwrite.models.shared_work import NOTHING_SHARED, SharedWork, new_inputs, prefix_cache
from unwrite.models.streams import followed_streams, mean_of_streams

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def extract_residuals(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    positions: Sequence[int] = (-1,),
    *,
    batches: Sequence[Sequence[int]] | None = None,
    shared: SharedWork = NOTHING_SHARED,
    budget: Budget | None = None,
    advance: Advance = do_nothing,
) -> Tensor:
    """Extract the residuals of tokenized prompts at positions counted from the end, at every layer.

    Residual index 0 is the input of layer 0, index ℓ + 1 the output of layer ℓ. In addition to the result, memory holds
    a single pass, and only these positions of each layer's output.

    Args:
        model: a language model; its output head is run on one token at most.
        prompts: token ids.
        positions: negative positions; −1 is where the first response token is predicted.
        batches: row numbers of each forward pass. By default prompts of one length share passes, which is right for
            every model; mix lengths where padding changes nothing.
        shared: work that passes share; its prefix must end before the positions of every prompt.
        budget: tokens that a forward pass may hold; lowered when memory runs out.
        advance: called after each pass with the number of prompts in it.

    Returns:
        [n, P, L+1, d] on the CPU, in the dtype of the model.

    Raises:
        UnwriteError: a prompt is too short for a position, a residual is NaN or infinite (the message names layer and
            prompt), or a single prompt does not fit in memory.
        ValueError: there are no prompts, or a position is not negative.

    Example:
        >>> model = load_model("demo/model")
        >>> extract_residuals(model, [[5, 6, 7], [8, 9]], positions=(-1, -2)).shape
        torch.Size([2, 2, 7, 128])
    """
    _refuse_bad_positions(prompts, positions)
    lengths = [len(tokens) for tokens in prompts]
    if batches is None:
        batches = unpadded_batches(lengths, FORWARD_TOKENS)
    table = _ResidualTable(len(prompts))

    def extract(rows: Sequence[int]) -> None:
        block = residuals_of_batch(model, [prompts[row] for row in rows], positions, shared)
        _refuse_non_finite(block, rows)
        table.write(rows, block)
        advance(len(rows))

    run_batches(extract, batches, lengths, budget or Budget())
    return table.residuals


@torch.inference_mode()
def residuals_of_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    positions: Sequence[int],
    shared: SharedWork = NOTHING_SHARED,
) -> Tensor:
    """Return the residuals [n, P, L+1, d] of n tokenized prompts from one forward pass, on the CPU."""
    body = model.base_model
    cached = prefix_cache(model, shared, range(len(prompts)), max(map(len, prompts)))
    # Some models have no part without the head; then the head is run on one token.
    settings = {**cached, "use_cache": bool(cached), **({"logits_to_keep": 1} if body is model else {})}
    with record_residuals(model, positions) as records:
        body(**accepted_inputs(body, {**new_inputs(prompts, cached, input_device(model)), **settings}))
        return torch.stack([record.cpu() for record in records], dim=2)


@contextmanager
def record_residuals(model: nn.Module, positions: Sequence[int]) -> Iterator[list[Tensor]]:
    """Record the stream at `positions`: while open, each forward pass fills the list with L+1 tensors [batch, P, d].

    Residual index 0 is the input of layer 0, index ℓ + 1 the output of layer ℓ, before any final norm. Hooks see this
    stream whatever the model returns as hidden states (recurrent models count them differently).

    Of several streams, their mean is recorded (`streams`); of a stack that runs several times, the last run.

    Raises:
        UnwriteError: the model has no decoder stack, or, during a pass, streams that cannot be split.
    """
    layers = decoder_layers(model)
    columns = list(positions)
    records: list[Tensor] = []

    def at_positions(stream: Tensor) -> Tensor:
        # Indexing with a list copies: the stream can be freed, and rescaling it in place does not change the record.
        return mean_of_streams(streams.split(stream)[:, columns])

    def record_input(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        records.clear()
        records.append(at_positions(stream_argument(args, kwargs)))

    def record_output(_module: nn.Module, _args: Any, output: Any) -> None:
        records.append(at_positions(layer_output(output)))

    with followed_streams(model, layers[0]) as streams, ExitStack() as hooks:
        hooks.enter_context(layers[0].register_forward_pre_hook(record_input, with_kwargs=True))
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(record_output))
        yield records


class _ResidualTable:
    """The residuals of all prompts, written batch by batch; the first batch sets the shape and the dtype."""

    def __init__(self, num_prompts: int) -> None:
        self.num_prompts = num_prompts
        self.residuals = torch.empty(0)

    def write(self, rows: Sequence[int], block: Tensor) -> None:
        if len(self.residuals) == 0:
            self.residuals = block.new_empty((self.num_prompts, *block.shape[1:]))
        self.residuals[list(rows)] = block


def _refuse_bad_positions(prompts: Sequence[Sequence[int]], positions: Sequence[int]) -> None:
    if not prompts:
        raise ValueError("prompts must not be empty")
    if not positions or max(positions) >= 0:
        raise ValueError(f"positions must be negative (counted from the end), got {list(positions)}")
    needed = -min(positions)
    for row, tokens in enumerate(prompts):
        if len(tokens) < needed:
            raise UnwriteError(
                f"The prompt at index {row} has {len(tokens)} tokens, but residuals.positions contains {-needed}. "
                "Remove that position."
            )


def _refuse_non_finite(block: Tensor, rows: Sequence[int]) -> None:
    """Refuse a block [n, P, L+1, d] with NaN or infinite numbers."""
    bad = ~torch.isfinite(block).all(dim=-1)
    if bad.any():
        row, _, index = (int(i) for i in bad.nonzero()[0])
        where = "the embedding" if index == 0 else f"layer {index - 1}"
        raise UnwriteError(
            f"The residual of the prompt at index {rows[row]} is NaN or infinite after {where}. "
            "Set model.dtype to float32; if the error remains, the checkpoint is damaged."
        )
