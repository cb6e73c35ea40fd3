"""A flat map of residuals: along the direction, and along the first principal component of what remains."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import vector_norm

from unwrite.core.directions import NEGLIGIBLE
from unwrite.core.index_geometry import PromptSets


class MapPlane(NamedTuple):
    """The plane that residuals are projected to.

    origin: the point that is mapped to (0, 0), [d].
    x: the direction, [d], unit norm, or zero where there is none.
    y: the second axis, [d], unit norm and orthogonal to x, or zero where nothing varies besides.
    share_x, share_y: the share of the variance of the training prompts along each axis.
    """

    origin: Tensor
    x: Tensor
    y: Tensor
    share_x: float
    share_y: float


def map_plane(train: PromptSets, direction: Tensor, origin: Tensor) -> MapPlane:
    """Find the plane of a map from the training prompts.

    The second axis is the first principal component of the residuals of both sets after the direction is projected out
    of them. Its largest component is positive, so that its sign is not left to chance.

    Args:
        train: residuals at one position and residual index, float64.
        direction: v, [d], float64, unit norm or zero.
        origin: what is mapped to (0, 0), [d]: with μ_baseline, the center of the baseline prompts is at x = 0, and that
            of the target prompts at x = v·(μ_target − μ_baseline).
    """
    points = torch.cat(train)
    centered = points - points.mean(0)
    along = centered @ direction
    rest = centered - along.unsqueeze(-1) * direction
    y = _first_component(rest, NEGLIGIBLE * float(vector_norm(points)))
    y = _signed(y - (y @ direction) * direction)
    total = float(centered.square().sum())

    def share(coordinates: Tensor) -> float:
        return float(coordinates.square().sum()) / total if total > 0 else 0.0

    return MapPlane(origin, direction, y, share(along), share(centered @ y))


def map_coordinates(plane: MapPlane, residuals: Tensor) -> Tensor:
    """Project residuals [n, d] to the plane of a map: [n, 2]."""
    return (residuals - plane.origin) @ torch.stack([plane.x, plane.y], dim=-1)


def turned_like(plane: MapPlane, residuals: Tensor, earlier: Tensor | None) -> MapPlane:
    """Turn the second axis around if that brings the prompts closer to where they were, so that maps do not flip.

    Args:
        plane: the plane of this map.
        residuals: residuals of some prompts, [n, d].
        earlier: the coordinates of the same prompts on the map before this one, [n, 2]; None for the first map.
    """
    if earlier is None:
        return plane
    here, there = map_coordinates(plane, residuals)[:, 1], earlier[:, 1]
    agreement = (here - here.mean()) @ (there - there.mean())
    return plane._replace(y=-plane.y) if float(agreement) < 0 else plane


def _first_component(centered: Tensor, negligible: float) -> Tensor:
    """Return the first right singular vector of [n, d], [d], or zero if the norm of all is negligible."""
    from scipy.sparse.linalg import svds  # heavy, and a library user may not need it

    norm = float(vector_norm(centered))
    if norm <= negligible:
        return centered.new_zeros(centered.shape[-1])
    if min(centered.shape) == 1:
        only: Tensor = torch.linalg.svd(centered, full_matrices=False).Vh[0]
        return only
    start = torch.randn(min(centered.shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors = svds((centered / norm).numpy(), k=1, v0=start.numpy(), return_singular_vectors="vh")[2]
    return torch.from_numpy(vectors[0].copy())


def _signed(axis: Tensor) -> Tensor:
    """Return a vector with unit norm and a positive largest component; zero stays zero."""
    norm = vector_norm(axis)
    return axis / norm * axis[axis.abs().argmax()].sign() if float(norm) > 0 else axis
