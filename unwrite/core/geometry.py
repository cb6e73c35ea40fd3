"""Figures that describe directions: how far apart the two prompt sets are, and how well a direction separates them."""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from unwrite.core.directions import NEGLIGIBLE


def geometry(target: Tensor, baseline: Tensor, directions: Tensor) -> dict[str, Tensor]:
    """Describe the direction at each position and residual index.

    With x the target residuals, y the baseline ones, μ their means, v the direction:

    - `difference_norm`: ‖μ_x − μ_y‖.
    - `relative_norm`: ‖μ_x − μ_y‖ / ‖μ_y‖.
    - `cosine_to_baseline`: cosine of v and μ_y.
    - `cosine_to_previous`: cosine of v and the direction at the residual index before; 0 at index 0.
    - `separation`: Cohen's d of the projections (Cohen 1988), (mean(x·v) − mean(y·v)) / s, with the pooled standard
      deviation s² = ((n − 1) var(x·v) + (m − 1) var(y·v)) / (n + m − 2).
    - `auc`: the probability that a target prompt projects above a baseline one, ties counting half: Mann & Whitney's
      U / (n m) (1947). 0.5 is chance.

    A figure that would be 0/0 (no direction, no mean) is 0. The separation of two sets that differ but do not vary is
    infinite.

    Args:
        target: the residuals that the directions were computed from (winsorized, if they were), [n, ..., L+1, d], any
            floating dtype.
        baseline: the same for the baseline prompts, [m, ..., L+1, d].
        directions: v, [..., L+1, d], unit norm or zero.

    Returns:
        Each figure as [..., L+1], float64.

    Raises:
        ValueError: the shapes do not match, or a set has fewer than two prompts.

    Example:
        >>> target, baseline = torch.randn(8, 1, 7, 16) + 1, torch.randn(8, 1, 7, 16)
        >>> directions = compute_directions(target, baseline)["directions"]
        >>> geometry(target, baseline, directions)["auc"].shape
        torch.Size([1, 7])
    """
    if not target.shape[1:] == baseline.shape[1:] == directions.shape or directions.ndim < 2:
        raise ValueError(
            "target, baseline and directions must be [n, ..., L+1, d], [m, ..., L+1, d] and [..., L+1, d], got "
            f"{list(target.shape)}, {list(baseline.shape)} and {list(directions.shape)}"
        )
    if min(len(target), len(baseline)) < 2:
        raise ValueError(
            f"a spread needs at least 2 prompts in each set, got {len(target)} target and {len(baseline)} baseline"
        )
    v = directions.to(torch.float64)
    flat = v.reshape(-1, v.shape[-1])
    rows = []
    for index, direction in enumerate(flat):  # one at a time, so that the float64 copies stay small
        x = target.reshape(len(target), *flat.shape)[:, index].to(torch.float64)
        y = baseline.reshape(len(baseline), *flat.shape)[:, index].to(torch.float64)
        mean = y.mean(0)
        difference = vector_norm(x.mean(0) - mean)
        length = vector_norm(mean)
        cosine = _ratio(mean @ direction, length * vector_norm(direction))
        above, below = x @ direction, y @ direction
        figures = [difference, _ratio(difference, length), cosine, separation(above, below), auc(above, below)]
        rows.append(torch.stack(figures))
    names = ("difference_norm", "relative_norm", "cosine_to_baseline", "separation", "auc")
    table = torch.stack(rows, dim=-1)
    figures_by_name = {name: table[i].reshape(v.shape[:-1]) for i, name in enumerate(names)}
    previous = torch.cat([torch.zeros_like(v[..., :1, :]), v[..., :-1, :]], dim=-2)
    return figures_by_name | {"cosine_to_previous": (v * previous).sum(-1)}


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Compute the cosine of the angle between two vectors, a·b / (‖a‖ ‖b‖).

    Args:
        a: vectors of any length, [..., d].
        b: vectors of the same shape.

    Returns:
        Cosines, [...], float64, in [−1, 1]; NaN where either vector is zero.
    """
    x, y = a.to(torch.float64), b.to(torch.float64)
    cosine: Tensor = (x * y).sum(-1) / (vector_norm(x, dim=-1) * vector_norm(y, dim=-1))
    return cosine.clamp(-1, 1)


def difference_norms(target_mean: Tensor, baseline_mean: Tensor) -> Tensor:
    """Compute the norm of the difference of means, ‖μ_target − μ_baseline‖.

    Args:
        target_mean: μ_target, [..., d].
        baseline_mean: μ_baseline, the same shape.

    Returns:
        Norms, [...], float64; zero where they are at most 1e-6 ‖μ_baseline‖: that is rounding, and
        `difference_direction` is zero too.
    """
    baseline = baseline_mean.to(torch.float64)
    norm = vector_norm(target_mean.to(torch.float64) - baseline, dim=-1)
    return torch.where(norm > NEGLIGIBLE * vector_norm(baseline, dim=-1), norm, 0.0)


def separation(x: Tensor, y: Tensor) -> Tensor:
    """Compute Cohen's d of two samples (Cohen 1988), (mean(x) − mean(y)) / s, with s the pooled standard deviation.

    Args:
        x: n numbers, [n].
        y: m numbers, [m].

    Returns:
        A scalar: infinite for samples that differ but do not vary, 0 for equal ones, NaN for one number of each.
    """
    difference, freedom = x.mean() - y.mean(), len(x) + len(y) - 2
    if freedom < 1:
        return difference * torch.nan
    squares = (x - x.mean()).square().sum() + (y - y.mean()).square().sum()
    return _ratio(difference, (squares / freedom).sqrt())


def auc(x: Tensor, y: Tensor) -> Tensor:
    """Compute the probability that a number of x is above one of y, ties counting half (Mann & Whitney 1947).

    Args:
        x: numbers, [n].
        y: numbers, [m].

    Returns:
        A scalar in [0, 1]; 0.5 is chance.
    """
    ordered = y.sort().values
    smaller = torch.searchsorted(ordered, x) + torch.searchsorted(ordered, x, right=True)
    return smaller.to(x.dtype).mean() / (2 * len(y))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a == 0, 0.0, a / b)
