"""PaCMAP: a layout of residuals that keeps neighbours together, without axes of its own."""

from __future__ import annotations

import logging

import torch
from torch import Tensor


def pacmap_layout(residuals: Tensor, like: Tensor) -> Tensor:
    """Lay residuals out in two dimensions by PaCMAP (Wang et al. 2021), turned and mirrored to be like another layout.

    Args:
        residuals: [n, d], finite.
        like: the layout to come close to, [n, 2]; a rotation or reflection about the center is all that is fitted.

    Returns:
        Coordinates, [n, 2], float64, centered; in no unit. Residuals that are all equal lie at (0, 0).
    """
    from pacmap import PaCMAP  # an extra
    from scipy.linalg import orthogonal_procrustes

    if bool((residuals == residuals[0]).all()):
        return torch.zeros(len(residuals), 2, dtype=torch.float64)
    logging.getLogger("pacmap").setLevel(logging.ERROR)  # it warns that there is a seed, and of small sets
    layout = PaCMAP(n_components=2, random_state=0).fit_transform(residuals.float().numpy())
    points = torch.from_numpy(layout).to(torch.float64)
    points, reference = points - points.mean(0), like - like.mean(0)
    rotation, _ = orthogonal_procrustes(points.numpy(), reference.numpy())
    return points @ torch.from_numpy(rotation)
