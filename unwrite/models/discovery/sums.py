"""Measure what share of a sum the layer's input and the branches that add to it leave unexplained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unwrite.models.discovery.probes import (
    SHIFT,
    RecordedLayer,
    UnprovableError,
    outputs_fixed,
    run_to,
    shift_multipliers,
)

COMPLETE = 1e-5  # the largest share of a sum that may be left unexplained


def unexplained_at(
    recorded: RecordedLayer,
    sink: str | None,
    names: Sequence[str],
    multipliers: Mapping[str, Tensor],
    also: Tensor | None = None,
) -> float:
    """Measure the share of what reaches a sink that is neither the layer's input nor what the named modules add.

    Args:
        recorded: the layer.
        sink: the place where the sum is measured.
        names: the modules.
        multipliers: the factors with which each of them reaches the sink, by name; for one stream.
        also: what else is known to reach the sink, [tokens, d].

    Raises:
        UnprovableError: the input reaches the sink, which is a norm.
    """
    base = run_to(recorded.layer, sink)
    if sink is None and recorded.layer.streams > 1:
        return unmixed_share(recorded, base, names)
    whole = base - skip_contribution(recorded, sink, names)
    return unexplained_share(recorded, whole if also is None else whole - also, names, multipliers)


def unmixed_share(recorded: RecordedLayer, base: Tensor, names: Sequence[str]) -> float:
    """Measure the share of several streams that is no mix, by numbers, of the streams before and the modules' outputs.

    The numbers depend on the token, and shifting an input would change them, so they are not measured but fitted, by
    least squares: d equations for each stream, in one unknown per stream and module. There are far fewer of those than
    d, so anything else that is written is left over.

    Args:
        recorded: the layer.
        base: the streams after the layer, [tokens · streams, d].
        names: the modules.
    """
    layer = recorded.layer
    before = layer.rows().view(-1, layer.streams, layer.width())  # [tokens, S, d]
    outputs = [recorded.calls[name].output.view(len(before), -1, layer.width()) for name in names]
    parts = torch.cat([before, *outputs], 1).mT  # [tokens, d, S + outputs]
    after = base.reshape(before.shape).mT
    left = after - parts @ torch.linalg.lstsq(parts, after, driver="gelsd").solution
    return float(left.norm() / after.norm())


def unexplained_share(
    recorded: RecordedLayer, whole: Tensor, names: Sequence[str], multipliers: Mapping[str, Tensor]
) -> float:
    """Measure the share of a whole [rows, d] that is not the sum of the modules' outputs times their multipliers.

    Args:
        recorded: the layer.
        whole: one row for each token, or for each stream of each token.
        names: the modules.
        multipliers: the factor of each of them for each row, by name.
    """
    rest = whole
    for name in names:
        rest = rest - spread(recorded.calls[name].output, len(whole)) * multipliers[name][:, None]
    return float(rest.norm() / whole.norm())


def spread(output: Tensor, rows: int) -> Tensor:
    """Repeat a module's output [tokens, d] for each stream of a token: [rows, d]."""
    return output.repeat_interleave(rows // len(output), 0)


def skip_contribution(recorded: RecordedLayer, sink: str | None, names: Sequence[str]) -> Tensor:
    """Measure how much of the layer's input itself reaches a sink, s·h_in, [tokens, d].

    The named modules return their recorded outputs, so the input cannot reach the sink through them.

    Raises:
        UnprovableError: the input reaches the sink, which is a norm.
    """
    layer, v = recorded.layer, recorded.direction
    with outputs_fixed(recorded, names):
        base = run_to(layer, sink)
        scale = shift_multipliers(run_to(layer.with_rows(layer.rows() + SHIFT * v), sink) - base, v)
    if scale is None:
        return torch.zeros_like(base)
    if sink is not None:
        raise UnprovableError(f"{recorded.label(sink)} normalizes or scales the stream itself")
    return scale[:, None] * layer.rows()
