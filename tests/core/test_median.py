"""The geometric median by its first-order condition, and where Weiszfeld's formula alone fails."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unwrite.core import median as module
from unwrite.core.median import geometric_median

CHECK = settings(deadline=None, derandomize=True, max_examples=60, database=None)
DOUBLE = torch.float64


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@CHECK
@given(st.integers(0, 2**31), st.integers(3, 30), st.integers(2, 20))
def test_unit_vectors_cancel_at_the_median(seed: int, count: int, width: int) -> None:
    points = normal(seed, count, width) * normal(seed + 1, count, 1).exp()
    median = geometric_median(points)
    distance = (points - median).norm(dim=-1)
    away = distance > 0
    pull = ((points - median)[away] / distance[away, None]).sum(0)
    # The condition of Vardi & Zhang: the pull is zero, or at most the number of points at the median.
    assert float(pull.norm()) <= int((~away).sum()) + 1e-7 * count
    # The control: the mean is not such a point.
    mean = points.mean(0)
    assert float((points - mean).norm(dim=-1).sum()) > float(distance.sum())


def test_the_median_can_be_a_data_point() -> None:
    # Three corners and a point inside: the inner point is the median, where Weiszfeld's formula divides by 0.
    points = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [1.0, 1.0]], dtype=DOUBLE)
    assert geometric_median(points).tolist() == [1.0, 1.0]
    # Starting on a data point that is not the median: the mean of these is the first of them. At the median (x, 0) two
    # unit vectors to the left cancel one to the right and two at an angle of 60°: 1 − x = 0.1 / √3.
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [-3.0, 0.0]], dtype=DOUBLE)
    median = geometric_median(points)
    assert median.tolist() == pytest.approx([1 - 0.1 / math.sqrt(3), 0.0], abs=1e-9)


def test_the_step_from_a_data_point_is_that_of_vardi_and_zhang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEPS", 1)
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [-3.0, 0.0]], dtype=DOUBLE)
    pull = 1 + 2 / math.sqrt(1.01) - 1
    weiszfeld = pull / (1 + 2 / math.sqrt(1.01) + 1 / 3)
    expected = (1 - 1 / pull) * weiszfeld + (1 / pull) * 0  # (1 − η/r) T(y) + (η/r) y, at y = 0 with η = 1
    assert geometric_median(points).tolist() == pytest.approx([expected, 0.0], abs=1e-12)


def test_the_median_of_points_on_a_line_is_the_ordinary_one() -> None:
    points = torch.tensor([[1.0], [2.0], [7.0], [100.0], [3.0]], dtype=DOUBLE)
    assert geometric_median(points).tolist() == [3.0]


@CHECK
@given(st.integers(0, 2**31), st.integers(1, 10), st.integers(2, 20))
def test_the_median_of_symmetric_points_is_the_mean(seed: int, count: int, width: int) -> None:
    half, middle = normal(seed, count, width), normal(seed + 1, width)
    points = torch.cat([middle + half, middle - half])
    assert torch.allclose(geometric_median(points), middle, atol=1e-9)


def test_the_median_of_equal_points_is_that_point() -> None:
    points = torch.full((5, 3), 0.1, dtype=DOUBLE)
    assert torch.equal(geometric_median(points), points[0])
    assert torch.equal(geometric_median(points[:1]), points[0])


def test_outliers_hardly_move_the_median() -> None:
    points = torch.cat([normal(0, 60, 10), torch.full((40, 10), 1e6, dtype=DOUBLE)])
    assert float(geometric_median(points).norm()) < 5
    assert float(points.mean(0).norm()) > 1e6
