"""The silhouette coefficient: worked by hand, and where nothing is there to measure."""

import math

import pytest
import torch

from unwrite.evaluation.silhouette import silhouette


def points(*rows: float) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).unsqueeze(-1)


def test_a_case_worked_by_hand() -> None:
    # Target 0 and 2, baseline 5 and 9. The point 0: a = 2, b = (5 + 9)/2 = 7, (7 − 2)/7. 2: a = 2, b = (3 + 7)/2 = 5.
    # 5: a = 4, b = (5 + 3)/2 = 4. 9: a = 4, b = (9 + 7)/2 = 8.
    expected = (5 / 7 + 3 / 5 + 0 + 4 / 8) / 4
    assert silhouette(points(0, 2), points(5, 9), 10) == pytest.approx(expected, abs=1e-12)


def test_clusters_are_near_one_and_mixed_sets_near_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, 20, generator=generator, dtype=torch.float64) for _ in range(2))
    assert silhouette(x + 100, y, 100) > 0.9
    assert abs(silhouette(x, y, 100)) < 0.1


def test_equal_residuals_are_no_clusters_and_constant_sets_apart_are_perfect_ones() -> None:
    constant = torch.full((5, 300), 0.1, dtype=torch.float64)
    assert silhouette(constant, constant, 10) == 0
    assert silhouette(constant + 1, constant, 10) == pytest.approx(1)


def test_it_uses_at_most_so_many_of_each_set() -> None:
    far = torch.cat([points(0, 2), points(5000)])
    assert silhouette(far, points(5, 9, 9000), 2) == silhouette(far[[0, 1]], points(5, 9), 2)


def test_single_residuals_have_none_and_one_beside_several_has() -> None:
    assert math.isnan(silhouette(points(0), points(5), 10))
    assert silhouette(points(0), points(5, 6), 10) == pytest.approx((0 + 4 / 5 + 5 / 6) / 3)
