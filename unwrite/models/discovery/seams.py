"""What runs between layers must not write: where no layer and no embedding adds along a direction, nothing else does.

In most models a layer gets what the one before it passed on, and nothing runs between. Where stacks run several times
(hierarchical recurrences), their states are added and normed before the next run. Sums and norms without a scale keep
a stream free of a direction that it is free of, so the edits of the writers stay exact: a whole pass proves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unwrite.models.captured_layers import run_model
from unwrite.models.discovery.probes import TOLERANCE, seeded
from unwrite.models.layers import decoder_layers, stream_argument
from unwrite.models.patching import mapped_stream
from unwrite.models.streams import followed_streams

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def writes_between(model: PreTrainedModel, inputs: Mapping[str, Tensor], width: int) -> list[str]:
    """List the places between layers where something writes the stream, as reasons why a model cannot be edited.

    The embeddings, what goes into the first layer and the output of every layer are made orthogonal to a random
    direction; what a later layer gets must then be orthogonal to it too.

    Args:
        model: a miniature that has values.
        inputs: token ids [batch, tokens].
        width: d.

    Raises:
        UnwriteError: the model does not run.
    """
    layers = decoder_layers(model)
    numbers = {layer: number for number, layer in reversed([*enumerate(layers)])}
    v = nn.functional.normalize(torch.randn(width, generator=seeded(2)).double(), dim=0)
    ran: list[int] = []
    reasons: list[str] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = streams.split(stream_argument(args, kwargs))
        if ran and bool(((x @ v).abs() > TOLERANCE * x.norm(dim=-1)).any()):
            reasons.append(f"something writes the stream between layers {ran[-1]} and {numbers[module]}")
        ran.append(numbers[module])

    def without_v(x: Tensor) -> Tensor:
        return x - (x @ v).unsqueeze(-1) * v

    def project_embedding(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return without_v(output) if output.shape[-1] == width else output

    embedding: Any = model.get_input_embeddings()
    with followed_streams(model, layers[0]) as streams, ExitStack() as hooks:
        for layer in numbers:  # before the stream is mapped, so that they see what comes
            hooks.enter_context(layer.register_forward_pre_hook(note, with_kwargs=True))
        hooks.enter_context(embedding.register_forward_hook(project_embedding))
        hooks.enter_context(mapped_stream(model, without_v))
        run_model(model, inputs)
    return list(dict.fromkeys(reasons))
