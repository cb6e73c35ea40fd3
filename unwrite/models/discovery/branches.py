"""Find the branches of a layer, which add into the residual stream, by saturation.

The saturation test: add K·v, with K huge, to a module's output. Every path through a norm is bounded, so if the
layer's output moves by m·K·v, the module adds straight into the stream with multiplier m. Where such a module is itself
a norm, the search continues at its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.models.discovery.bare_biases import (
    Candidate,
    find_bare_biases,
    pair_bare_biases,
    written_by_bare_biases,
)
from unwrite.models.discovery.findings import FoundNorm
from unwrite.models.discovery.norms import find_norm
from unwrite.models.discovery.parameters import Weight, find_weights
from unwrite.models.discovery.probes import (
    SHIFT,
    RecordedLayer,
    UnprovableError,
    multipliers_into,
    record_calls,
    run_to,
    shift_multipliers,
)
from unwrite.models.discovery.sums import COMPLETE, skip_contribution, spread, unexplained_at, unexplained_share


class Branch(NamedTuple):
    """What adds into the stream: a module with its weights, or a norm with the branches that add into its input."""

    module: str
    weights: tuple[Weight, ...] = ()
    norm: FoundNorm | None = None
    inner: tuple[Branch, ...] = ()


class Leaf(NamedTuple):
    """A branch with weights, and the norms between it and the stream, in the order in which its output passes them."""

    branch: Branch
    norms: tuple[FoundNorm, ...]


class Examination(NamedTuple):
    """What adds into a sink: the branches, why others cannot be edited exactly, and the share left unexplained."""

    branches: tuple[Branch, ...]
    reasons: list[str]
    unexplained: float


class _Chosen(NamedTuple):
    """Modules whose outputs, times their multipliers, add up to what reaches a sink, up to a residual share."""

    names: list[str]
    unexplained: float


def leaves(branches: Sequence[Branch], norms: tuple[FoundNorm, ...] = ()) -> Iterator[Leaf]:
    """Yield each branch that has weights, with the norms after it."""
    for branch in branches:
        if branch.norm is None:
            yield Leaf(branch, norms)
        else:
            yield from leaves(branch.inner, (branch.norm, *norms))


def search_branches(recorded: RecordedLayer, sink: str | None = None) -> Examination:
    """Find what adds into a sink.

    Raises:
        UnprovableError: the stream itself reaches the sink, which is a norm.
    """
    base = run_to(recorded.layer, sink)
    multipliers = _adding_modules(recorded, sink, base)
    chosen = _choose(recorded, sink, multipliers)
    parts = [_examine_module(recorded, name) for name in chosen.names]
    branches = tuple(branch for part in parts for branch in part.branches)
    if chosen.unexplained > COMPLETE and recorded.layer.streams == 1:
        branches, chosen = _with_bare_biases(recorded, sink, branches, chosen, multipliers)
    reasons = [reason for part in parts for reason in part.reasons]
    if chosen.unexplained > COMPLETE:
        scaled = [name for name in _scaled_modules(recorded, sink, base) if name not in multipliers]
        reasons = [_unexplained_message(recorded, sink, chosen, scaled), *reasons]
    one_stream = sink is None and recorded.layer.streams == 1
    if reasons and one_stream and not bool(skip_contribution(recorded, None, chosen.names).any()):
        reasons[0] += "; the layer's input does not reach its output unchanged (a norm after the sum, or a scale)"
    return Examination(branches, reasons, chosen.unexplained)


def _with_bare_biases(
    recorded: RecordedLayer,
    sink: str | None,
    branches: tuple[Branch, ...],
    chosen: _Chosen,
    multipliers: Mapping[str, Tensor],
) -> tuple[tuple[Branch, ...], _Chosen]:
    """Give biases that the layer adds by itself to the matrices they go with, and measure again what is unexplained."""
    base = run_to(recorded.layer, sink)
    bare = find_bare_biases(recorded, sink, base, chosen.names)
    candidates = [Candidate(weight, multipliers[branch.module]) for branch in branches for weight in branch.weights]
    bias_of = pair_bare_biases(bare, candidates)
    if not bias_of:
        return branches, chosen
    written = written_by_bare_biases(recorded, {bias: bare[bias] for bias in bias_of.values()})
    left = unexplained_at(recorded, sink, chosen.names, multipliers, also=written)
    paired = (
        branch._replace(weights=tuple(_with_bias(weight, bias_of.get(weight.parameter)) for weight in branch.weights))
        for branch in branches
    )
    return tuple(paired), chosen._replace(unexplained=left)


def _with_bias(weight: Weight, bias: str | None) -> Weight:
    return weight if bias is None else weight._replace(bias=bias, bias_axis=0)


def _examine_module(recorded: RecordedLayer, name: str) -> Examination:
    """Examine one module that adds into a sink: find its weights, or search at its input if it is a norm."""
    norm = find_norm(recorded, name)
    try:
        if norm is None:
            branch = Branch(name, weights=find_weights(recorded, name))
            return Examination((branch,), [], 0.0)
        inner = search_branches(recorded, name)
    except UnprovableError as error:
        return Examination((), [str(error)], 0.0)
    if inner.unexplained > COMPLETE:  # so nothing says that its output loses the direction
        return Examination((), [f"{recorded.label(name)} cannot be edited exactly: {inner.reasons[0]}"], 0.0)
    return inner._replace(branches=(Branch(name, norm=norm, inner=inner.branches),))


def _adding_modules(recorded: RecordedLayer, sink: str | None, base: Tensor) -> dict[str, Tensor]:
    """Find the modules that add straight into a sink, with their multipliers [tokens]."""
    # A norm's output cannot add into its own input; the stream is not added to what already contains it.
    skipped = {sink} | _modules_with_stream(recorded)
    multipliers = {
        name: multipliers_into(recorded.layer, name, sink, base, recorded.direction)
        for name in recorded.calls
        if name not in skipped
    }
    return {name: m for name, m in multipliers.items() if m is not None}


def _modules_with_stream(recorded: RecordedLayer) -> set[str]:
    """Find the modules whose output contains the layer's input itself."""
    layer, v = recorded.layer, recorded.direction
    moved = record_calls(layer.with_rows(layer.rows() + SHIFT * v))
    return {
        name
        for name, call in recorded.calls.items()
        if name in moved and call.output.shape == moved[name].output.shape
        if shift_multipliers(moved[name].output - call.output, v) is not None
    }


def _scaled_modules(recorded: RecordedLayer, sink: str | None, base: Tensor) -> list[str]:
    """Find the deepest modules that pass a single component of the stream on exactly, but not a general direction."""
    one_hot = torch.zeros_like(recorded.direction)
    one_hot[0] = 1
    names = [
        name
        for name in recorded.calls
        if name != sink and recorded.has_parameters(name)
        if multipliers_into(recorded.layer, name, sink, base, one_hot) is not None
    ]
    return _deepest(names)


def _choose(recorded: RecordedLayer, sink: str | None, multipliers: Mapping[str, Tensor]) -> _Chosen:
    """Choose the deepest modules that add up to what reaches a sink.

    Modules that do not add up to the output of the module around them are replaced by that module.
    """
    hits = {name: m for name, m in multipliers.items() if recorded.has_parameters(name) or find_norm(recorded, name)}
    names = _deepest(list(hits))
    containers = sorted(set(hits) - set(names), key=lambda name: (-name.count("."), name))
    while True:
        left = unexplained_at(recorded, sink, names, hits)
        if left <= COMPLETE or not containers:
            return _Chosen(names, left)
        container = containers.pop(0)
        inside = [name for name in names if name.startswith(f"{container}.")]
        output = spread(recorded.calls[container].output, len(hits[container])) * hits[container][:, None]
        if unexplained_share(recorded, output, inside, hits) > COMPLETE:
            names = [name for name in names if name not in inside] + [container]


def _deepest(names: Sequence[str]) -> list[str]:
    """Keep the modules that contain none of the others."""
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _unexplained_message(recorded: RecordedLayer, sink: str | None, chosen: _Chosen, scaled: Sequence[str]) -> str:
    modules = ", ".join(map(recorded.label, chosen.names)) or "any module"
    why = f"; each component is scaled separately after {', '.join(scaled)}" if scaled else ""
    place = "the output" if sink is None else "its input"
    return f"{chosen.unexplained:.1%} of {place} is not explained by {modules}{why}"
