"""The figures against numpy-free formulas written out, and scipy's Mann–Whitney test."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from torch import Tensor

from unwrite.core.directions import center, difference_direction
from unwrite.core.geometry import cosines, difference_norms, geometry


def sets() -> tuple[Tensor, Tensor, Tensor]:
    """Return residuals of 2 positions, 4 indices and width 16: index 0 equal for all, index 3 the farthest apart."""
    generator = torch.Generator().manual_seed(0)
    target, baseline = torch.randn(30, 2, 4, 16, generator=generator), torch.randn(25, 2, 4, 16, generator=generator)
    baseline, target = baseline + 2, target + 2
    target[..., 0, :] = baseline[..., 0, :] = 1
    target[..., 1:, 5] += torch.tensor([0.1, 1.0, 10.0])
    return target, baseline, difference_direction(center(target, "mean"), center(baseline, "mean"))


def test_every_figure_equals_its_formula() -> None:
    target, baseline, directions = sets()
    actual = geometry(target, baseline, directions)
    assert all(figure.shape == (2, 4) and figure.dtype == torch.float64 for figure in actual.values())
    for position in range(2):
        for index in range(1, 4):
            x, y = target[:, position, index].double(), baseline[:, position, index].double()
            v = directions[position, index]
            here = {name: float(figure[position, index]) for name, figure in actual.items()}
            difference = math.dist(x.mean(0).tolist(), y.mean(0).tolist())
            a, b = (x @ v).tolist(), (y @ v).tolist()
            mean_a, mean_b = sum(a) / 30, sum(b) / 25
            squares = sum((t - mean_a) ** 2 for t in a) + sum((t - mean_b) ** 2 for t in b)
            assert here == pytest.approx(
                {
                    "difference_norm": difference,
                    "relative_norm": difference / math.hypot(*y.mean(0).tolist()),
                    "cosine_to_baseline": float(torch.cosine_similarity(v, y.mean(0), dim=0)),
                    "cosine_to_previous": float(v @ directions[position, index - 1]),
                    "separation": (mean_a - mean_b) / math.sqrt(squares / 53),
                    "auc": float(mannwhitneyu(a, b).statistic) / (30 * 25),
                },
                abs=1e-12,
            )


def test_an_index_without_a_direction_separates_nothing() -> None:
    target, baseline, directions = sets()
    for name, figure in geometry(target, baseline, directions).items():
        assert figure[:, 0].tolist() == ([0.5, 0.5] if name == "auc" else [0, 0])


def test_figures_grow_with_the_distance_of_the_sets() -> None:
    figures = geometry(*sets())
    for name in ("difference_norm", "relative_norm", "separation", "auc"):
        assert bool((figures[name][:, 3] > figures[name][:, 2]).all())
    assert figures["auc"][:, 3].tolist() == [1, 1]


def test_auc_counts_ties_half_and_reverses_with_the_direction() -> None:
    target, baseline = torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([[[0.0]], [[1.0]], [[2.0]], [[3.0]]])
    for sign in (1.0, -1.0):
        figures = geometry(target, baseline, torch.tensor([[sign]]))
        assert figures["auc"].tolist() == [0.5]
    higher = geometry(target + 1, baseline, torch.tensor([[1.0]]))
    assert higher["auc"].tolist() == [(2.5 + 3.5) / 8]
    lower = geometry(target + 1, baseline, torch.tensor([[-1.0]]))
    assert lower["auc"].tolist() == [1 - (2.5 + 3.5) / 8]
    assert lower["separation"].tolist() == (-higher["separation"]).tolist()


def test_sets_that_differ_without_a_spread_are_infinitely_apart() -> None:
    figures = geometry(torch.ones(2, 1, 1), torch.zeros(2, 1, 1), torch.ones(1, 1))
    assert figures["separation"].tolist() == [math.inf]
    assert figures["relative_norm"].tolist() == [math.inf]
    assert figures["cosine_to_baseline"].tolist() == [0]


def test_shapes_that_do_not_match_and_single_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"and \[3, 5\]$"):
        geometry(torch.ones(2, 3, 4), torch.ones(2, 3, 4), torch.ones(3, 5))
    with pytest.raises(ValueError, match="must be"):
        geometry(torch.ones(2, 4), torch.ones(2, 4), torch.ones(4))
    with pytest.raises(ValueError, match="got 1 target and 2 baseline"):
        geometry(torch.ones(1, 3, 4), torch.ones(2, 3, 4), torch.ones(3, 4))


@given(angle=st.floats(0, math.pi), length=st.floats(1e-3, 1e3), other=st.floats(1e-3, 1e3))
def test_the_cosine_depends_on_the_angle_and_not_on_the_lengths(angle: float, length: float, other: float) -> None:
    a = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) * length
    b = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64) * other
    assert float(cosines(a, b)) == pytest.approx(math.cos(angle), abs=1e-12)


def test_cosines_are_computed_per_position_and_index() -> None:
    a = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    signs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])
    assert torch.allclose(cosines(a, a * signs.unsqueeze(-1)), signs.double(), atol=1e-12, rtol=0)
    assert bool((cosines(a, a) <= 1).all())


def test_the_cosine_with_a_zero_vector_is_nan() -> None:
    a = torch.ones(2, 4)
    b = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]])
    assert cosines(a, b).isnan().tolist() == [False, True]
    assert cosines(b, a).isnan().tolist() == [False, True]


def test_the_norm_of_the_difference_of_means() -> None:
    baseline = torch.tensor([[1.0, 2.0, 2.0], [5.0, 0.0, 0.0]])
    target = baseline + torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    assert difference_norms(target, baseline).tolist() == [5, 0]


def test_rounding_counts_neither_as_a_difference_nor_as_a_direction() -> None:
    baseline = torch.full((2, 4), 1000.0, dtype=torch.float64)
    target = baseline + torch.tensor([[1e-7], [1.0]], dtype=torch.float64)
    assert (difference_norms(target, baseline) > 0).tolist() == [False, True]
    assert difference_direction(target, baseline).any(-1).tolist() == [False, True]
