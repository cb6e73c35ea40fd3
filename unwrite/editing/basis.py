"""The stored vectors that the direction of an edit is a linear mix of.

What an edit projects out is γ∘v, centered where the norm is, and v mixes the directions at two residual indices and,
with `biprojected`, loses its part along a baseline mean. Norms map v linearly (`core.directions.pulled_back`), so up to
its length, that is a linear combination of what they make of vᵢ, vᵢ₊₁ and the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.directions import AffineNorm, pulled_back
from unwrite.core.layer_directions import residual_index, span_source
from unwrite.schema.artifacts import DirectionRef, Writer
from unwrite.schema.params import Space


class BasisVector(NamedTuple):
    """One vector of directions.safetensors: the direction or the baseline mean at a position and residual index."""

    position: int
    residual: int
    mean: bool


Mix = Mapping[BasisVector, float]
"""The share of each vector in a linear combination."""


def vectors_of_search(
    writer: Writer, space: Space, *, layers: int, positions: int, biprojected: bool
) -> Iterator[BasisVector]:
    """Yield every stored vector that an edit of this writer can need during a search.

    Args:
        writer: the writer.
        space: the bounds of the search; `direction_index` counts in fractions of L − 1.
        layers: L.
        positions: P.
        biprojected: whether directions are orthogonalized against the mean of the layer they are applied to.
    """
    own = residual_index(writer.layer)
    indices: set[int] = set()
    if "global" in space.direction_scope:
        low, high = (bound * (layers - 1) for bound in space.direction_index)
        indices.update(range(math.floor(low), math.ceil(high) + 1))
    if "per_layer" in space.direction_scope:
        indices.add(own)
    source = span_source(space.spans, writer.layer) if "spans" in space.direction_scope else None
    if source is not None:
        indices.add(residual_index(source))
    for position in range(positions):
        yield from (BasisVector(position, index, mean=False) for index in sorted(indices))
        if biprojected and indices:
            yield BasisVector(position, own, mean=True)


def mix_of(reference: DirectionRef, directions: Tensor, baseline_means: Tensor) -> Mix:
    """Return the linear combination of stored vectors that is parallel to the direction a reference names.

    Args:
        reference: the position, the residual index, and the mean to orthogonalize against, if any.
        directions: the stored directions, [P, L+1, d].
        baseline_means: the means of the baseline residuals, [P, L+1, d].
    """
    below = math.floor(reference.index)
    fraction = reference.index - below
    mix = {BasisVector(reference.position, below, mean=False): 1 - fraction}
    if fraction > 0:
        mix[BasisVector(reference.position, below + 1, mean=False)] = fraction
    if reference.orthogonalize_to is not None:
        mean = BasisVector(reference.position, reference.orthogonalize_to, mean=True)
        along_mean = combine(mix, directions, baseline_means) @ basis_vector(mean, directions, baseline_means)
        mix[mean] = -float(along_mean)
    return mix


def combine(mix: Mix, directions: Tensor, baseline_means: Tensor, norms: Sequence[AffineNorm] = ()) -> Tensor:
    """Compute the linear combination, [d] float64, of the vectors in front of norms."""
    parts = [share * basis_vector(vector, directions, baseline_means, norms) for vector, share in mix.items()]
    return torch.stack(parts).sum(0)


def basis_vector(
    vector: BasisVector, directions: Tensor, baseline_means: Tensor, norms: Sequence[AffineNorm] = ()
) -> Tensor:
    """Return a direction, or the unit vector along a baseline mean, pulled back through norms.

    Args:
        vector: the position, the residual index, and whether it is a mean.
        directions: the stored directions, [P, L+1, d].
        baseline_means: the means of the baseline residuals, [P, L+1, d].
        norms: the norms that follow the writer, in order.

    Returns:
        The vector in front of the norms, [d], float64.
    """
    stored = baseline_means if vector.mean else directions
    found = stored[vector.position, vector.residual].to(torch.float64)
    if vector.mean:
        length = torch.linalg.vector_norm(found)
        found = found / length if length > 0 else found
    return pulled_back(found, norms)
