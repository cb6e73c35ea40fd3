"""The residual stream at a few positions, read by hooks: full hidden states are never kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.batches import Budget, accepted, left_padded, run_batches
from unwrite.models.layers import decoder_layers, layer_output, stream_argument

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def record_residuals(model: nn.Module, positions: Sequence[int]) -> Iterator[list[Tensor]]:
    """While open, each forward pass fills the list with L+1 tensors [P, batch, d]: the stream at `positions`.

    Residual index 0 is the input of layer 0, index ℓ+1 the output of layer ℓ, before any final norm. Hooks see that
    whatever a model calls its hidden states (recurrent ones count them otherwise).

    Raises:
        UnwriteError: There is no decoder stack; or, while it runs, there is more than one stream.
    """
    layers = decoder_layers(model)
    where = list(positions)
    records: list[Tensor] = []

    def at_positions(stream: Tensor) -> Tensor:
        if stream.dim() != 3:
            raise UnwriteError(
                f"{type(model).__name__} keeps several streams (their shape is {list(stream.shape)}); a direction is "
                "of one. Expected a model whose layers pass on one stream [batch, tokens, hidden size]."
            )
        # A list of places copies them: the rest can be freed, and a stream that is rescaled in place stays as it was.
        return stream[:, where].transpose(0, 1)

    def first(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        records.clear()
        records.append(at_positions(stream_argument(args, kwargs)))

    def after(_module: nn.Module, _args: Any, output: Any) -> None:
        records.append(at_positions(layer_output(output)))

    with ExitStack() as hooks:
        hooks.enter_context(layers[0].register_forward_pre_hook(first, with_kwargs=True))
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(after))
        yield records


@torch.inference_mode()
def residuals_of_batch(model: PreTrainedModel, prompts: Sequence[Sequence[int]], positions: Sequence[int]) -> Tensor:
    """Residuals [P, n, L+1, d] on the CPU of n tokenized prompts that share one forward pass, in the model's dtype."""
    body = model.base_model
    # Some have no part without the head but themselves: then it is run on one token.
    settings = {"use_cache": False, **({"logits_to_keep": 1} if body is model else {})}
    with record_residuals(model, positions) as records:
        body(**accepted(body, {**left_padded(prompts, model.device), **settings}))
        return torch.stack(records, dim=2).cpu()


def extract_residuals(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    positions: Sequence[int],
    batches: Sequence[Sequence[int]],
    advance: Callable[[int], object],
    *,
    budget: Budget | None = None,
) -> Tensor:
    """Residuals [P, n, L+1, d] of n tokenized prompts at P positions counted from the end, in the model's dtype.

    Beside the result, memory holds one pass: of each layer no more than the positions asked for is kept.

    Args:
        model: A language model; its output head is run on one token at most.
        prompts: Token ids.
        positions: Negative positions; −1 is where the first response token is predicted.
        batches: Row numbers of each forward pass; of one length each, where padding changes what the model computes.
        advance: Called with the number of prompts done after each pass.
        budget: Tokens a forward pass may hold.

    Raises:
        UnwriteError: A prompt is shorter than a position asks for, a residual is NaN or infinite (names layer and
            prompt), or a single prompt doesn't fit into memory.
    """
    _refuse_short_prompts(prompts, positions)
    result: Tensor | None = None

    def record(rows: Sequence[int]) -> None:
        nonlocal result
        block = residuals_of_batch(model, [prompts[row] for row in rows], positions)
        _refuse_non_finite(block, rows)
        if result is None:
            result = block.new_empty((block.shape[0], len(prompts), *block.shape[2:]))
        result[:, list(rows)] = block
        advance(len(rows))

    run_batches(record, batches, [len(prompt) for prompt in prompts], budget or Budget())
    assert result is not None
    return result


def _refuse_short_prompts(prompts: Sequence[Sequence[int]], positions: Sequence[int]) -> None:
    needed = -min(positions)
    for row, tokens in enumerate(prompts):
        if len(tokens) < needed:
            raise UnwriteError(
                f"The prompt at place {row} (from 0) has {len(tokens)} tokens; residuals.positions asks for the one "
                f"{needed} from the end. "
                "Drop that position."
            )


def _refuse_non_finite(block: Tensor, rows: Sequence[int]) -> None:
    bad = ~torch.isfinite(block).all(dim=-1)
    if bad.any():
        _, row, index = (int(i) for i in bad.nonzero()[0])
        place = "the embedding" if index == 0 else f"layer {index - 1}"
        raise UnwriteError(
            f"The residual of the prompt at place {rows[row]} (from 0) after {place} is NaN or infinite. "
            "Set model.dtype to float32; if it stays, the checkpoint is damaged."
        )
