"""Whether anything is still written along a direction once every writer is edited, measured in a run of a whole model.

The edit is written here a second time, plainly, so that discovery is not checked by its own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from unwrite.models.captured_layers import run_model
from unwrite.models.discovery.findings import FoundWriter
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.layers import decoder_layers, layer_output, stream_argument

TOKENS = torch.tensor([[3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16]])


@torch.no_grad()
def project_out(model: nn.Module, writer: FoundWriter, v: Tensor, *, bias: bool = True, norms: bool = True) -> None:
    """Project a unit vector v [d] out of one writer of the model, in place.

    Before a norm, y = γ∘x̂ + β, the vector to project out is u = γ∘v, since v·(γ∘x̂) = (γ∘v)·x̂; without its mean, if x̂
    has none. β loses v.

    Args:
        model: a model in float64.
        writer: a writer of that architecture.
        v: the direction to clear, [d].
        bias: whether the biases of the writer and of its norms are edited as well.
        norms: whether norms after the writer are compensated for.
    """
    u, edited = v, []
    for norm in reversed(writer.norms if norms else ()):
        if bias and norm.bias is not None:
            edited.append((norm.bias, 0, u))
        u = u * (norm.offset + (0.0 if norm.parameter is None else model.get_parameter(norm.parameter)))
        u = u - u.mean() if norm.centered else u
        u = u / u.norm()
    edited.append((writer.parameter, writer.axis, u))
    if bias and writer.bias is not None:
        edited.append((writer.bias, writer.bias_axis, u))
    for name, axis, along in edited:
        columns = model.get_parameter(name).movedim(axis, 0)  # a view
        columns.sub_(torch.einsum("d,...->d...", along, torch.einsum("d,d...->...", along, columns)))


def edited(model: nn.Module, writers: Iterable[FoundWriter], v: Tensor, **edit: bool) -> nn.Module:
    """Project v out of these writers as `project_out` does, and return the same model."""
    for writer in writers:
        project_out(model, writer, v, **edit)
    return model


@torch.no_grad()
def written_along(model: nn.Module, v: Tensor) -> float:
    """Measure the largest |v·h_out| / ‖h_out‖ over layers and tokens, in a run with v cleared from each layer's input.

    Of several streams, over each of them.

    Args:
        model: a model in float64 without hooks; it runs on a few tokens.
        v: unit vector, [d].

    Raises:
        UnwriteError: the model has no decoder stack, or does not run on text alone.
    """
    shares: list[float] = []
    measured: set[nn.Module] = set()

    def clear(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows = stream_argument(args, kwargs).view(-1, len(v))
        rows.sub_((rows @ v)[..., None] * v)

    def measure(module: nn.Module, _args: Any, output: Any) -> None:
        measured.add(module)
        rows = layer_output(output).reshape(-1, len(v))
        shares.append(float(((rows @ v).abs() / rows.norm(dim=-1)).max()))

    layers = decoder_layers(model)
    with float64_throughout(), ExitStack() as hooks:
        for layer in dict.fromkeys(layers):
            hooks.enter_context(layer.register_forward_pre_hook(clear, with_kwargs=True))
            hooks.enter_context(layer.register_forward_hook(measure))
        run_model(model, {"input_ids": TOKENS})
    assert measured == set(layers)
    return max(shares)
