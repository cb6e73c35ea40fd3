"""Cosines and norms of differences against their geometry."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unwrite.core.alignment import cosines, difference_norms
from unwrite.core.directions import difference_direction


@given(angle=st.floats(0, math.pi), length=st.floats(1e-3, 1e3), other=st.floats(1e-3, 1e3))
def test_cosine_is_of_the_angle_and_not_of_the_lengths(angle: float, length: float, other: float) -> None:
    a = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) * length
    b = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64) * other
    assert float(cosines(a, b)) == pytest.approx(math.cos(angle), abs=1e-12)


def test_cosine_of_every_position_and_index_by_itself() -> None:
    a = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    signs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])
    assert torch.allclose(cosines(a, a * signs.unsqueeze(-1)), signs.double(), atol=1e-12, rtol=0)
    assert bool((cosines(a, a) <= 1).all())


def test_no_angle_with_a_zero_vector() -> None:
    a = torch.ones(2, 4)
    b = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]])
    assert cosines(a, b).isnan().tolist() == [False, True]
    assert cosines(b, a).isnan().tolist() == [False, True]


def test_norm_of_the_difference_of_means() -> None:
    baseline = torch.tensor([[1.0, 2.0, 2.0], [5.0, 0.0, 0.0]])
    target = baseline + torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    assert difference_norms(target, baseline).tolist() == [5, 0]


def test_rounding_is_no_difference_just_as_it_is_no_direction() -> None:
    baseline = torch.full((2, 4), 1000.0, dtype=torch.float64)
    target = baseline + torch.tensor([[1e-7], [1.0]], dtype=torch.float64)
    assert (difference_norms(target, baseline) > 0).tolist() == [False, True]
    assert difference_direction(target, baseline).any(-1).tolist() == [False, True]
