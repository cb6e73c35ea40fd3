"""The direction of a behaviour: from residuals to the unit vector that each layer's writers are edited with.

Residual index 0 is the input of layer 0, index ℓ + 1 the output of layer ℓ. A zero vector means "no direction": an edit
with it changes nothing. The steps repeated for every edit (interpolating, orthogonalizing) sum in a fixed order
(`reproducible`), as the edit itself does.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from unwrite.core.median import geometric_median
from unwrite.core.reproducible import stable_sqrt, stable_sum
from unwrite.terms import CenterMethod

NEGLIGIBLE = 1e-6
"""The share of a vector's norm up to which a remainder of it is rounding error, not a direction."""


class AffineNorm(NamedTuple):
    """A norm y = γ∘x̂ + β between a writer and the stream, as far as it changes what must be projected out.

    `scale` is γ, [d]. `centered` is whether x̂ has mean zero (LayerNorm), or is scaled only (root mean square norms).
    """

    scale: Tensor
    centered: bool = False


def center(residuals: Tensor, method: CenterMethod) -> Tensor:
    """Compute the center of a set of residuals, separately for each position and residual index.

    The mean (Arditi et al. 2024), or the geometric median: the point with the least sum of distances to the prompts,
    which a minority of outliers cannot shift far.

    Args:
        residuals: one entry per prompt, [n, ..., d], any floating dtype.
        method: `mean` or `geometric_median`.

    Returns:
        The centers, [..., d], float64.

    Raises:
        ValueError: there are no prompts, a residual is NaN or infinite, or the method is unknown.
    """
    if method not in get_args(CenterMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(CenterMethod))}, got {method!r}")
    if len(residuals) == 0:
        raise ValueError("a center needs the residuals of at least 1 prompt, got 0")
    points = residuals.reshape(len(residuals), -1, residuals.shape[-1])
    centers = torch.empty(points.shape[1:], dtype=torch.float64, device=residuals.device)
    for index in range(points.shape[1]):  # one at a time, so that the float64 copy stays small
        vectors = points[:, index].to(torch.float64)
        if not bool(vectors.isfinite().all()):
            prompts = (~vectors.isfinite().all(-1)).nonzero().flatten().tolist()
            location = f" at residual index {index % residuals.shape[-2]}" if residuals.ndim > 2 else ""
            raise ValueError(
                f"residuals must be finite, got NaN or infinity{location} in {len(prompts)} of {len(vectors)} prompts, "
                f"first in prompt {prompts[0]}"
            )
        centers[index] = vectors.mean(0) if method == "mean" else geometric_median(vectors)
    return centers.reshape(residuals.shape[1:])


def difference_direction(target_center: Tensor, baseline_center: Tensor) -> Tensor:
    """Compute the difference-of-means direction v = normalize(μ_target − μ_baseline) (Arditi et al. 2024).

    Where ‖difference‖ ≤ 1e-6 ‖μ_baseline‖ it is the zero vector: at residual index 0 the last token of the chat
    template is the same for every prompt, so the difference is exactly zero.

    Args:
        target_center: μ_target, [..., L+1, d], or [d] for a single index.
        baseline_center: μ_baseline, the same shape.

    Returns:
        Directions of the same shape, float64, unit norm or zero along the last axis.

    Raises:
        ValueError: the centers differ in shape, or agree at every residual index of a position.
    """
    if target_center.shape != baseline_center.shape:
        raise ValueError(
            "target and baseline residuals must have the same shape, got "
            f"{list(target_center.shape)} and {list(baseline_center.shape)}"
        )
    baseline = baseline_center.to(torch.float64)
    difference = target_center.to(torch.float64) - baseline
    direction = _normalize(difference, NEGLIGIBLE * _norms(baseline))
    has_direction = direction.any(-1).reshape(-1, direction.shape[-2] if direction.ndim > 1 else 1).any(-1)
    if not bool(has_direction.all()):
        position = int((~has_direction).nonzero()[0])
        raise ValueError(
            f"target and baseline residuals are identical at every layer of position {position}: there is no direction"
        )
    return direction


def orthogonalize(direction: Tensor, reference: Tensor) -> Tensor:
    """Remove the component along a reference from a direction: normalize(v − (v·g) g), g = normalize(reference).

    With the baseline mean as the reference this is the projected direction of Lai 2025. A direction parallel to the
    reference (to 1e-6) becomes zero. That is not an error: there is nothing to remove at that index, while other
    indices may be fine.

    Args:
        direction: v, [..., d], unit norm or zero.
        reference: a vector of any length, [..., d]; zero removes nothing.

    Returns:
        Directions orthogonal to the reference, [..., d], float64, unit norm or zero.
    """
    v = direction.to(torch.float64)
    g = _normalize(reference.to(torch.float64))
    remainder = v
    for _ in range(2):  # the second pass removes the rounding error of the first
        remainder = remainder - stable_sum(remainder * g, -1).unsqueeze(-1) * g
    return _normalize(remainder, NEGLIGIBLE * _norms(v))


def through_norms(direction: Tensor, norms: Sequence[AffineNorm]) -> Tensor:
    """Compute what to project out of a writer so that the direction vanishes after norms: u = normalize(Γ₁C₁ … Γₙ v).

    A norm maps x to y = γ∘(C x) / s(x) + β, with a positive number s(x) for each token. C subtracts the mean
    (LayerNorm) or is the identity (root mean square norms). As C is symmetric,

        v·y = (γ∘v)·(C x) / s(x) + v·β = C(γ∘v)·x / s(x) + v·β.

    So v·y = 0 for every token where u·x = 0, u = normalize(C(γ∘v)), and v·β = 0. Project u out of the writer and its
    bias, and v out of β. Of consecutive norms, each takes the u of the next for its v, from the last to the first.

    With a strength λ ≠ 1, s(x) changes with x, as it does for any edit of a normed writer: what is left along v is
    (1 − λ)·s(x)/s(x′) of it. The strength counts before the norm.

    Args:
        direction: v, [d], unit norm or zero.
        norms: each norm between the writer and the stream, in the order in which its output passes them.

    Returns:
        u, [d], float64, unit norm; zero if nothing of v passes the norms. Without norms, v.

    Raises:
        ValueError: a scale has a different shape from the direction.
    """
    return _normalize(pulled_back(direction, norms)) if norms else direction.to(torch.float64)


def pulled_back(vector: Tensor, norms: Sequence[AffineNorm]) -> Tensor:
    """Compute C₁(γ₁∘ … Cₙ(γₙ∘v)), which is linear in v: the vector in front of norms that turns into v after them.

    Args:
        vector: v, [d].
        norms: as in `through_norms`.

    Returns:
        [d], float64. Where v after γ is constant up to rounding, centering leaves exactly zero.

    Raises:
        ValueError: a scale has a different shape from the vector.
    """
    v = vector.to(torch.float64)
    # Without centering any order is right, and the order of products is part of the release format.
    for norm in reversed(norms) if any(norm.centered for norm in norms) else norms:
        if norm.scale.shape != v.shape:
            raise ValueError(
                f"a norm's scale must have the direction's shape, [{len(v)}], got {list(norm.scale.shape)}"
            )
        v = v * norm.scale.to(v)
        v = _centered(v) if norm.centered else v
    return v


def _centered(x: Tensor) -> Tensor:
    """Subtract the mean from a vector [d]; what is constant up to rounding becomes zero."""
    rest = x - stable_sum(x, -1) / len(x)
    return torch.where(_norms(rest) > NEGLIGIBLE * _norms(x), rest, 0.0)


def interpolate(directions: Tensor, index: float) -> Tensor:
    """Compute the direction at a residual index i + f, 0 ≤ f < 1: normalize((1 − f) v_i + f v_{i+1}).

    Args:
        directions: vᵢ, [L+1, d], unit norm or zero.
        index: i + f, in [0, L].

    Returns:
        The direction, [d], float64, unit norm; zero if both neighbours are zero or cancel.

    Raises:
        ValueError: the index is outside [0, L].
    """
    last = len(directions) - 1
    if not 0 <= index <= last:
        raise ValueError(f"direction index must be in [0, {last}], got {index}")
    below = math.floor(index)
    f = index - below
    low, high = directions[below].to(torch.float64), directions[min(below + 1, last)].to(torch.float64)
    return _normalize((1 - f) * low + f * high, NEGLIGIBLE)


def _norms(x: Tensor) -> Tensor:
    return stable_sqrt(stable_sum(x * x, -1)).unsqueeze(-1)


def _normalize(x: Tensor, negligible: Tensor | float = 0.0) -> Tensor:
    """Divide by the norm: x / ‖x‖ along the last axis, zero where ‖x‖ ≤ negligible."""
    norm = _norms(x)
    nonzero = norm > negligible
    return torch.where(nonzero, x / torch.where(nonzero, norm, 1.0), 0.0)
