"""Random edits for tests of the closed form: a weight, a direction, a strength, and the mode's reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from hypothesis import assume, settings
from hypothesis import strategies as st
from torch import Tensor

from unwrite.core.edit import edit_weight
from unwrite.terms import NormPreservation

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
CHECK = settings(deadline=None, derandomize=True, max_examples=60, database=None)


@dataclass(frozen=True)
class Case:
    """A weight with rows of very different size, a unit direction and a strength."""

    weight: Tensor
    direction: Tensor
    strength: float


@st.composite
def cases(draw: st.DrawFn, min_rows: int = 1, zeros: bool = True) -> Case:
    d, k = draw(st.integers(min_rows, 150)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weight = torch.randn(d, k, generator=generator, dtype=torch.float64)
    weight = weight * torch.randn(d, 1, generator=generator, dtype=torch.float64).exp()
    if zeros:
        weight[draw(st.lists(st.integers(0, d - 1), max_size=3))] = 0
        weight[:, draw(st.lists(st.integers(0, k - 1), max_size=3))] = 0
    direction = torch.randn(d, generator=generator, dtype=torch.float64)
    direction[draw(st.lists(st.integers(0, d - 1), max_size=3))] = 0
    assume(bool(direction.any()))
    return Case(weight, direction / direction.norm(), draw(st.floats(-0.5, 2)))


def left(case: Case, mode: NormPreservation) -> float:
    """The smallest part of a row's (column's) norm that the projection leaves; what rescaling divides by."""
    unscaled = edit_weight(case.weight, case.direction, case.strength, "pre" if mode == "rows" else "none")
    axis = 1 if mode == "rows" else 0
    before, after = case.weight.norm(dim=axis), unscaled.norm(dim=axis)
    return float((after[before > 0] / before[before > 0]).min()) if bool((before > 0).any()) else 1.0


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> bool:
    return bool((a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max())))


def in_blocks(weight: Tensor, size: int) -> Callable[[], list[tuple[slice, Tensor]]]:
    return lambda: [(slice(i, min(i + size, len(weight))), weight[i : i + size]) for i in range(0, len(weight), size)]
