"""Find biases that a layer adds to the stream by itself, outside the module that they belong to.

Such a bias b [d] is a parameter whose shift by K·v moves the stream by m·K·v, like a module's output. It writes m·b, so
it is edited like any bias: b − v (vᵀb). A recipe edits one bias with each matrix, so it goes with a matrix that has
none and reaches the same place with the same multiplier: the sum of both is what one biased module would write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unwrite.models.discovery.parameters import Weight
from unwrite.models.discovery.probes import SHIFT, TOLERANCE, RecordedLayer, run_to, shift_multipliers


class Candidate(NamedTuple):
    """A matrix that could take a bias, and the multipliers [tokens] with which its module reaches the sink."""

    weight: Weight
    multipliers: Tensor


def find_bare_biases(
    recorded: RecordedLayer, sink: str | None, base: Tensor, inside: Sequence[str]
) -> dict[str, Tensor]:
    """Find the vectors [d] of a layer that add straight into a sink, with their multipliers [tokens].

    Args:
        recorded: the layer.
        sink: the place where their effect is measured.
        base: what reaches the sink, [tokens, d].
        inside: modules that add into the sink; their own biases are part of what they add.
    """
    layer, v = recorded.layer, recorded.direction
    found = {}
    for name, parameter in layer.module.named_parameters():
        if parameter.shape == v.shape and not any(name.startswith(f"{module}.") for module in inside):
            with _shifted_vector(parameter, v):
                m = shift_multipliers(run_to(layer, sink) - base, v)
            if m is not None:
                found[name] = m
    return found


def written_by_bare_biases(recorded: RecordedLayer, biases: Mapping[str, Tensor]) -> Tensor:
    """Return Σ m·b of bare biases, given their multipliers m [tokens]: [tokens, d], or a zero that fits any shape."""
    parts = [m[:, None] * recorded.layer.module.get_parameter(name) for name, m in biases.items()]
    return torch.stack(parts).sum(0) if parts else torch.zeros(())


def pair_bare_biases(biases: Mapping[str, Tensor], candidates: Sequence[Candidate]) -> dict[str, str]:
    """Pair each bias with the matrix that shares the longest part of its name, of those that it can go with.

    Args:
        biases: names of bare biases, with their multipliers [tokens].
        candidates: the matrices that reach the same sink.

    Returns:
        the bias of each matrix, by the matrix's name; a bias that fits none is left out.
    """
    paired: dict[str, str] = {}
    for bias, m in biases.items():
        free = [
            weight.parameter
            for weight, multipliers in candidates
            if weight.bias is None and weight.num_matrices == 1 and weight.parameter not in paired
            if torch.allclose(multipliers, m, rtol=TOLERANCE, atol=TOLERANCE)
        ]
        if free:
            paired[max(free, key=lambda name: _shared_start(name, bias))] = bias
    return paired


def is_bare(bias: str, module: str) -> bool:
    """Return whether a bias lies outside the module whose matrix it is edited with."""
    return not bias.startswith(f"{module}.")


def _shared_start(name: str, other: str) -> int:
    """Count the parts that two names have in common, from the start."""
    parts = zip(name.split("."), other.split("."), strict=False)
    return next((index for index, (one, two) in enumerate(parts) if one != two), 0)


@contextmanager
def _shifted_vector(parameter: nn.Parameter, v: Tensor) -> Iterator[None]:
    original = parameter.data
    parameter.data = original + SHIFT * v
    try:
        yield
    finally:
        parameter.data = original
