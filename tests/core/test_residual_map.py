"""Maps of residuals: one axis is the direction, the other what varies most besides; both have a sign that stays."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import Tensor

from unwrite.core.index_geometry import PromptSets
from unwrite.core.residual_map import MapPlane, map_coordinates, map_plane, turned_like

WIDTH = 12
QUICK = settings(deadline=None, derandomize=True, max_examples=25, database=None)


def residuals(seed: int = 0, n: int = 30) -> PromptSets:
    """Two sets apart along axis 0 that spread the most along axis 5."""
    generator = torch.Generator().manual_seed(seed)
    target, baseline = (torch.randn(n, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    for x in (target, baseline):
        x[:, 5] *= 6
    target[:, 0] += 10
    return PromptSets(target, baseline)


def axis(number: int) -> Tensor:
    return torch.eye(WIDTH, dtype=torch.float64)[number]


def plane_of(sets: PromptSets, direction: Tensor) -> MapPlane:
    return map_plane(sets, direction, sets.baseline.mean(0))


@QUICK
@given(st.integers(0, 2**31), st.integers(2, 9))
def test_axes_are_orthonormal_and_their_shares_at_most_the_whole(seed: int, n: int) -> None:
    sets = residuals(seed, n)
    v = torch.nn.functional.normalize(sets.target[0], dim=0)
    plane = plane_of(sets, v)
    assert float(plane.y.norm()) == pytest.approx(1)
    assert float(plane.y @ v) == pytest.approx(0, abs=1e-12)
    assert 0 <= plane.share_x + plane.share_y <= 1 + 1e-12


def test_the_second_axis_is_the_principal_component_of_what_is_left() -> None:
    sets = residuals()
    plane = plane_of(sets, axis(0))
    rest = torch.cat(sets).clone()
    rest[:, 0] = 0
    pca = PCA(n_components=1).fit(rest.numpy())
    assert abs(float(plane.y @ torch.from_numpy(pca.components_[0]))) == pytest.approx(1, abs=1e-9)
    total = float((torch.cat(sets) - torch.cat(sets).mean(0)).square().sum())
    assert plane.share_y == pytest.approx(pca.explained_variance_[0] * 59 / total)


def test_centers_lie_where_the_map_says() -> None:
    sets = residuals()
    v = axis(0)
    plane = plane_of(sets, v)
    alpha = float(v @ (sets.target.mean(0) - sets.baseline.mean(0)))
    assert map_coordinates(plane, sets.baseline).mean(0).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert float(map_coordinates(plane, sets.target)[:, 0].mean()) == pytest.approx(alpha)


def test_the_largest_component_of_the_second_axis_is_positive() -> None:
    sets = residuals()
    mirrored = PromptSets(*(-x for x in sets))
    for each in (sets, mirrored):
        y = plane_of(each, axis(0)).y
        assert float(y[y.abs().argmax()]) > 0
        assert int(y.abs().argmax()) == 5


def test_a_map_that_would_flip_is_turned_and_another_is_not() -> None:
    sets = residuals()
    plane, points = plane_of(sets, axis(0)), torch.cat(sets)
    earlier = map_coordinates(plane, points)
    flipped = plane._replace(y=-plane.y)
    assert torch.equal(turned_like(flipped, points, earlier).y, plane.y)
    assert torch.equal(turned_like(plane, points, earlier).y, plane.y)
    assert torch.equal(turned_like(flipped, points, None).y, flipped.y)


def test_equal_residuals_are_one_point() -> None:
    constant = PromptSets(*(torch.full((4, WIDTH), 0.1, dtype=torch.float64) for _ in range(2)))
    plane = plane_of(constant, torch.zeros(WIDTH, dtype=torch.float64))
    assert (plane.share_x, plane.share_y) == (0, 0)
    assert not map_coordinates(plane, torch.cat(constant)).any()


def test_without_a_direction_the_second_axis_remains() -> None:
    plane = plane_of(residuals(), torch.zeros(WIDTH, dtype=torch.float64))
    assert plane.share_x == 0
    assert int(plane.y.abs().argmax()) in {0, 5}


def test_a_stream_of_one_component_has_a_map() -> None:
    sets = PromptSets(*(torch.arange(3.0, dtype=torch.float64).unsqueeze(-1) + shift for shift in (5, 0)))
    plane = map_plane(sets, torch.ones(1, dtype=torch.float64), sets.baseline.mean(0))
    assert plane.share_x == pytest.approx(1)
    assert plane.share_y == 0
