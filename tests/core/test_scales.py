"""The scales from products with the direction equal those that are read off the edited weight."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unwrite.core.edit import factors
from unwrite.core.scales import column_scales, row_scales
from unwrite.terms import NormPreservation

DOUBLE = torch.float64


def case(seed: int, d: int, k: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(d, k, generator=generator, dtype=DOUBLE) * torch.rand(d, 1, generator=generator, dtype=DOUBLE)
    return weight, torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=DOUBLE), dim=0)


def read(weight: Tensor, direction: Tensor, strength: float, mode: NormPreservation) -> tuple[Tensor, Tensor]:
    made = factors(lambda: [(slice(0, len(weight)), weight)], direction, strength, mode)
    return made.r, made.c


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(st.integers(0, 2**31), st.integers(2, 100), st.integers(1, 30), st.floats(-0.5, 2))
def test_scales_equal_the_factors(seed: int, d: int, k: int, strength: float) -> None:
    weight, v = case(seed, d, k)
    r, c = read(weight, v, strength, "rows")[0], read(weight, v, strength, "columns")[1]
    assume(max(float(r.max()), float(c.max())) < 100)  # beyond, cancellation takes its part
    assume(min(float(r.min()), float(c.min())) > 0)
    unit = weight / weight.norm(dim=1, keepdim=True)
    u = unit.T @ v
    assert torch.allclose(row_scales(v, strength, unit @ u, u @ u), r, rtol=1e-10)
    assert torch.allclose(column_scales(strength, v @ (weight / weight.norm(dim=0))), c, rtol=1e-10)


def test_products_with_the_stored_directions_serve_every_direction_between_them() -> None:
    # What the formulas are for: p of (1 − f) v₁ + f v₂ is linear, g quadratic in products made once.
    weight, first = case(0, 40, 10)
    second = case(1, 40, 10)[1]
    unit = weight / weight.norm(dim=1, keepdim=True)
    u = torch.stack([first, second]) @ unit  # [2, k]
    p, gram = u @ unit.T, u @ u.T
    mix = torch.tensor([0.3, 0.7], dtype=DOUBLE)
    v = mix @ torch.stack([first, second])
    mix, v = mix / v.norm(), v / v.norm()
    assert torch.allclose(row_scales(v, 1.2, mix @ p, mix @ gram @ mix), read(weight, v, 1.2, "rows")[0], rtol=1e-12)


def test_what_vanishes_has_scale_zero() -> None:
    v = torch.tensor([0.6, 0.8], dtype=DOUBLE)
    # ŵ₀ = λ v₀ u: then p₀ = ŵ₀·u = λ v₀ g and 1 − 2 λ² v₀² g + λ² v₀² g = 0 for λ² v₀² g = 1.
    g = torch.tensor(1 / 0.36, dtype=DOUBLE)
    scales = row_scales(v, 1.0, torch.stack([0.6 * g, torch.tensor(0.1, dtype=DOUBLE)]), g)
    assert scales[0] == 0
    assert scales[1] > 0
    assert column_scales(1.0, torch.tensor([1.0, -1.0, 0.0, 0.6], dtype=DOUBLE)).tolist() == [0, 0, 1, 1.25]


def test_many_strengths_at_once() -> None:
    v, p = torch.tensor([0.6, 0.8], dtype=DOUBLE), torch.tensor([0.3, 0.4], dtype=DOUBLE)
    g, strengths = torch.tensor(0.5, dtype=DOUBLE), torch.tensor([[0.5], [1.0]], dtype=DOUBLE)
    assert torch.equal(row_scales(v, strengths, p, g)[0], row_scales(v, 0.5, p, g))
    assert torch.equal(column_scales(strengths, p)[1], column_scales(1.0, p))
