"""A planted direction is found; centers and projections equal their formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unwrite.core.directions import (
    AffineNorm,
    center,
    difference_direction,
    interpolate,
    orthogonalize,
    through_norms,
)
from unwrite.core.winsorize import winsorize
from unwrite.terms import CenterMethod

CHECK = settings(deadline=None, derandomize=True, max_examples=60, database=None)
DOUBLE = torch.float64
METHODS: list[CenterMethod] = ["mean", "geometric_median"]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def unit(x: Tensor) -> Tensor:
    normalized: Tensor = x / x.norm(dim=-1, keepdim=True)
    return normalized


def planted(seed: int, outliers: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Two sets of 100 residuals of 3 indices × 256, 3 apart along a known direction, with noise of 0.1 per coordinate.

    With outliers, a few coordinates are 500 in every tenth target prompt, as massive activations are.
    """
    direction = unit(normal(seed, 3, 256))
    target = 0.1 * normal(seed + 1, 100, 3, 256) + 3 * direction
    baseline = 0.1 * normal(seed + 2, 100, 3, 256)
    if outliers:
        target[::10, :, 7:9] = 500
    return target, baseline, direction


def direction_between(target: Tensor, baseline: Tensor, method: CenterMethod) -> Tensor:
    return difference_direction(center(target, method), center(baseline, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_direction_is_found(method: CenterMethod, seed: int) -> None:
    target, baseline, direction = planted(seed, outliers=False)
    actual = direction_between(target, baseline, method)
    assert actual.dtype == DOUBLE
    assert actual.norm(dim=-1).tolist() == pytest.approx([1, 1, 1], abs=1e-14)
    assert bool(((actual * direction).sum(-1) > 0.99).all())


@pytest.mark.parametrize("seed", range(3))
def test_massive_activations_hide_the_direction_from_the_mean_but_not_with_winsorizing_or_the_median(seed: int) -> None:
    target, baseline, direction = planted(seed, outliers=True)

    def cosine(actual: Tensor) -> Tensor:
        return (actual * direction).sum(-1)

    assert bool((cosine(direction_between(target, baseline, "mean")) < 0.5).all())
    clamped = direction_between(winsorize(target, 0.98), winsorize(baseline, 0.98), "mean")
    assert bool((cosine(clamped) > 0.99).all())
    assert bool((cosine(direction_between(target, baseline, "geometric_median")) > 0.99).all())


@CHECK
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 3), st.integers(1, 20))
def test_the_mean_is_that_of_each_index(seed: int, prompts: int, indices: int, width: int) -> None:
    residuals = normal(seed, prompts, 2, indices, width).to(torch.bfloat16)
    actual = center(residuals, "mean")
    assert actual.dtype == DOUBLE
    assert torch.allclose(actual, sum(residuals.to(DOUBLE), torch.zeros(())) / prompts, atol=1e-14)


def test_the_mean_of_bfloat16_is_exact() -> None:
    residuals = torch.ones(1000, 1, dtype=torch.bfloat16)
    residuals[0] = 256
    assert float(center(residuals, "mean")) == 1.255  # in bfloat16 the ones would vanish next to 256


def test_center_refuses_bad_residuals_and_methods() -> None:
    with pytest.raises(ValueError, match="a center needs the residuals of at least 1 prompt, got 0"):
        center(torch.ones(0, 3), "mean")
    with pytest.raises(ValueError, match="method must be one of mean, geometric_median, got 'median'"):
        center(torch.ones(1, 3), "median")  # type: ignore[arg-type]
    for bad in (math.nan, math.inf):
        residuals = torch.ones(4, 2, 3)
        residuals[2, 1, 0] = bad
        with pytest.raises(ValueError, match="1 of 4 prompts, first in prompt 2"):
            center(residuals, "geometric_median")


def test_an_index_without_a_difference_has_no_direction() -> None:
    baseline = normal(0, 2, 4, 8)
    target = baseline + normal(1, 2, 4, 8)
    target[:, 0] = baseline[:, 0] * (1 + 1e-9)
    direction = difference_direction(target, baseline)
    assert not direction[:, 0].any()
    assert torch.allclose(direction[:, 1:].norm(dim=-1), torch.ones(2, 3, dtype=DOUBLE), atol=1e-14)
    assert not difference_direction(torch.zeros(2, 3), torch.eye(2, 3) * torch.tensor([[1.0], [0.0]]))[1].any()


def test_a_position_without_any_difference_is_refused() -> None:
    baseline = normal(0, 2, 4, 8)
    target = baseline + normal(1, 2, 4, 8)
    target[1] = baseline[1]
    with pytest.raises(ValueError, match="identical at every layer of position 1: there is no direction"):
        difference_direction(target, baseline)
    with pytest.raises(ValueError, match="no direction"):
        difference_direction(baseline[0], baseline[0])
    with pytest.raises(ValueError, match="no direction"):
        difference_direction(baseline[0, 0], baseline[0, 0])


def test_centers_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must have the same shape, got \[2, 3\] and \[2, 4\]"):
        difference_direction(torch.ones(2, 3), torch.ones(2, 4))


@CHECK
@given(st.integers(0, 2**31), st.integers(2, 30), st.floats(1e-4, 1e4), st.floats(1e-4, 1))
def test_an_orthogonalized_direction_is_a_unit_vector_orthogonal_to_the_reference(
    seed: int, width: int, size: float, off: float
) -> None:
    reference = normal(seed, 3, width)
    direction = unit(reference + off * normal(seed + 1, 3, width))  # close to the reference, the hard case
    actual = orthogonalize(direction, size * reference)
    assert torch.allclose(actual.norm(dim=-1), torch.ones(3, dtype=DOUBLE), atol=1e-14)
    assert float((actual * unit(reference)).sum(-1).abs().max()) < 1e-14
    rest = direction - (direction * unit(reference)).sum(-1, keepdim=True) * unit(reference)
    assert torch.allclose(actual, unit(rest), atol=1e-9)


def test_orthogonalizing_against_zero_or_itself() -> None:
    direction = unit(normal(0, 5))
    zero = torch.zeros(5, dtype=DOUBLE)
    assert torch.equal(orthogonalize(zero, direction), zero)
    assert torch.allclose(orthogonalize(direction, zero), direction, atol=1e-15)
    for factor in (3.0, -0.1):
        assert torch.equal(orthogonalize(direction, factor * direction), zero)


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    """Return the norm along the first axis; each column is a token."""
    return scale.unsqueeze(1) * x / x.square().mean(0).add(1e-6).sqrt()


@CHECK
@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(1, 3))
def test_the_direction_vanishes_after_norms_too(seed: int, width: int, chain: int) -> None:
    v = unit(normal(seed, width))
    W, x = normal(seed + 1, width, 9), normal(seed + 2, 9, 5)
    norms = [AffineNorm(1 + normal(seed + 3 + n, width)) for n in range(chain)]

    def written_along_v(taken_out: Tensor) -> float:
        y = (W - taken_out.unsqueeze(1) * (taken_out @ W)) @ x
        for norm in norms:
            y = rms_norm(y, norm.scale)
        return float((v @ y).abs().max() / y.abs().max())

    u = through_norms(v, norms)
    assert torch.allclose(u.norm(), torch.ones((), dtype=DOUBLE), atol=1e-14)
    assert written_along_v(u) < 1e-9
    assert written_along_v(v) > 1e-4  # the scales turn it
    assert torch.allclose(through_norms(v, norms[::-1]), u, atol=1e-14)


def test_a_direction_vanishes_after_norms_that_subtract_the_mean_and_add_a_bias() -> None:
    d = 24
    v = unit(normal(0, d))
    W, b, x = normal(1, d, 9), normal(2, d), normal(3, 9, 5)
    norms = [AffineNorm(1 + normal(4, d), True), AffineNorm(1 + normal(5, d)), AffineNorm(1 + normal(6, d), True)]
    biases = [normal(7 + n, d) for n in range(3)]
    after = [through_norms(v, norms[n:]) for n in range(4)]  # v as each weight or bias has to lose it

    def written_along_v(u: Tensor, of_biases: list[Tensor]) -> float:
        y = projected(W, u) @ x + projected(b, u)[:, None]
        for norm, bias, w in zip(norms, biases, of_biases, strict=True):
            y = y - y.mean(0) if norm.centered else y
            y = norm.scale[:, None] * y / y.square().mean(0).sqrt() + projected(bias, w)[:, None]
        return float((v @ y).abs().max() / y.abs().max())

    nothing = torch.zeros(d, dtype=DOUBLE)
    assert written_along_v(after[0], after[1:]) < 1e-12
    assert torch.equal(after[3], v)
    for number in range(3):  # control: one of the biases as it is
        left = [nothing if n == number else u for n, u in enumerate(after[1:])]
        assert written_along_v(after[0], left) > 1e-3
    not_centered = through_norms(v, [norm._replace(centered=False) for norm in norms])
    assert written_along_v(not_centered, after[1:]) > 1e-3  # control
    reordered = through_norms(v, norms[1:] + norms[:1])
    assert written_along_v(reordered, after[1:]) > 1e-3  # control: centering and scaling do not commute


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0, 1.5])
@pytest.mark.parametrize("centered", [False, True])
def test_the_strength_counts_before_the_norm_whose_own_scale_changes_too(centered: bool, strength: float) -> None:
    v, x, gamma = unit(normal(0, 24)), normal(1, 24, 5), 1 + normal(2, 24)
    u = through_norms(v, [AffineNorm(gamma, centered)])

    def after_norm(y: Tensor) -> tuple[Tensor, Tensor]:
        """Return what there is along v after the norm, and what the norm divides by, for each token."""
        y = y - y.mean(0) if centered else y
        size = y.square().mean(0).sqrt()
        return v @ (gamma[:, None] * y / size), size

    along, size = after_norm(x)
    left, new_size = after_norm(x - strength * u[:, None] * (u @ x))
    torch.testing.assert_close(left, (1 - strength) * along * size / new_size, rtol=1e-10, atol=1e-12)


def projected(x: Tensor, u: Tensor) -> Tensor:
    return x - (u[:, None] * (u @ x) if x.dim() > 1 else u * (u @ x))


def test_a_direction_that_a_norm_turns_into_a_constant_leaves_no_direction() -> None:
    v = unit(1 / torch.linspace(1, 3, 50, dtype=DOUBLE))
    norm = AffineNorm(torch.linspace(1, 3, 50, dtype=DOUBLE), centered=True)
    assert not through_norms(v, [norm]).any()  # not the rounding errors of its centering
    assert through_norms(v, [norm._replace(centered=False)]).any()


def test_without_norms_the_direction_is_unchanged() -> None:
    v = unit(normal(0, 7))
    assert torch.equal(through_norms(v, []), v)
    assert torch.allclose(through_norms(v, [AffineNorm(torch.full((7,), -3.0))]), -v, atol=1e-15)


def test_a_norm_that_is_zero_where_the_direction_is_not_leaves_no_direction() -> None:
    v = torch.tensor([0.6, 0.8, 0.0])
    assert not through_norms(v, [AffineNorm(torch.tensor([0.0, 0.0, 2.0]))]).any()
    assert not through_norms(torch.zeros(3), [AffineNorm(torch.ones(3))]).any()


def test_a_norm_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a norm's scale must have the direction's shape, \[3\], got \[4\]"):
        through_norms(torch.ones(3), [AffineNorm(torch.ones(4))])


@CHECK
@given(st.integers(0, 2**31), st.floats(0, 4))
def test_interpolation_equals_its_formula(seed: int, index: float) -> None:
    directions = unit(normal(seed, 5, 12))
    i = min(int(index), 3)
    expected = unit((1 - (index - i)) * directions[i] + (index - i) * directions[i + 1])
    assert torch.allclose(interpolate(directions, index), expected, atol=1e-12)


def test_interpolation_at_whole_numbers_and_next_to_zero() -> None:
    directions = unit(normal(0, 4, 12))
    directions[0] = 0
    for i in range(4):
        assert torch.allclose(interpolate(directions, i), directions[i], atol=1e-15)
    assert not interpolate(directions, 0).any()
    assert torch.allclose(interpolate(directions, 0.25), directions[1], atol=1e-15)
    opposite = unit(1e-8 * directions[2] - directions[1])
    assert not interpolate(torch.stack([directions[1], opposite]), 0.5).any()


@pytest.mark.parametrize("index", [-0.01, 3.01, math.nan, math.inf])
def test_an_index_out_of_range_is_refused(index: float) -> None:
    with pytest.raises(ValueError, match=r"direction index must be in \[0, 3\], got"):
        interpolate(torch.eye(4), index)


def test_nan_is_reported_with_its_residual_index_and_prompt() -> None:
    residuals = normal(0, 5, 2, 4, 3)
    residuals[3, 1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="at residual index 2 in 1 of 5 prompts, first in prompt 3"):
        center(residuals, "mean")
