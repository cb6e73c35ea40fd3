"""The figures of one residual index: against sklearn and numpy-free formulas, and planted directions against noise."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from unwrite.core.index_geometry import (
    PromptSets,
    both_centers,
    center_figures,
    separation_figures,
    winsorized,
    winsorizing_figures,
)
from unwrite.core.median import geometric_median


def noise(n: int, m: int, width: int, seed: int) -> PromptSets:
    generator = torch.Generator().manual_seed(seed)
    return PromptSets(*(torch.randn(size, width, generator=generator, dtype=torch.float64) for size in (n, m)))


def direction_of(sets: PromptSets) -> Tensor:
    difference = sets.target.mean(0) - sets.baseline.mean(0)
    unit: Tensor = difference / difference.norm()
    return unit


def shifted(sets: PromptSets, shift: Tensor) -> PromptSets:
    return PromptSets(sets.target + shift, sets.baseline)


@pytest.mark.parametrize("rounded", [False, True])  # rounded: with many ties
def test_the_auc_is_that_of_scikit_learn(rounded: bool) -> None:
    sets = noise(40, 25, 3, 0)
    if rounded:
        sets = PromptSets(*(x.round() for x in sets))
    v = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    labels = [1] * 40 + [0] * 25
    expected = roc_auc_score(labels, torch.cat([x @ v for x in sets]).numpy())
    assert separation_figures(sets, v)["auc"] == pytest.approx(expected, abs=1e-12)


def test_noise_is_separated_on_the_prompts_of_its_direction_and_not_on_others() -> None:
    train, validation = noise(40, 40, 2000, 1), noise(40, 40, 2000, 2)
    v = direction_of(train)
    assert separation_figures(train, v)["auc"] == 1  # wide noise lies apart along the difference of its means
    assert separation_figures(validation, v)["auc"] == pytest.approx(0.5, abs=0.2)
    assert abs(separation_figures(validation, v)["separation"]) < 1


def test_a_planted_direction_is_found_on_other_prompts() -> None:
    planted = torch.zeros(2000, dtype=torch.float64)
    planted[7] = 8.0
    train, validation = shifted(noise(40, 40, 2000, 1), planted), shifted(noise(40, 40, 2000, 2), planted)
    assert separation_figures(validation, direction_of(train))["auc"] > 0.95


def test_without_a_direction_nothing_is_separated() -> None:
    assert separation_figures(noise(5, 5, 4, 0), torch.zeros(4, dtype=torch.float64)) == {"auc": 0.5, "separation": 0}


def test_a_set_of_one_prompt_has_an_auc_and_no_spread() -> None:
    one = PromptSets(torch.ones(1, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64))
    figures = separation_figures(one, torch.tensor([1.0, 0], dtype=torch.float64))
    assert figures["auc"] == 1
    assert math.isnan(figures["separation"])
    constant = PromptSets(one.target, one.baseline.expand(2, 2))
    assert separation_figures(constant, torch.tensor([1.0, 0], dtype=torch.float64))["separation"] == math.inf


def test_the_figures_of_centers_are_those_of_a_right_triangle() -> None:
    target, baseline, v = (torch.tensor(x, dtype=torch.float64) for x in ([3.0, 0, 0], [0.0, 4, 0], [0.0, 0, 1]))
    assert center_figures(target, baseline, v) == {
        "target_norm": 3,
        "baseline_norm": 4,
        "difference_norm": 5,
        "cosine_target_baseline": 0,
        "cosine_target_direction": 0,
        "cosine_baseline_direction": 0,
    }
    assert center_figures(target, baseline, target / 3)["cosine_target_direction"] == 1


def test_a_cosine_with_no_direction_is_unknown() -> None:
    x = torch.ones(3, dtype=torch.float64)
    figures = center_figures(x, x, torch.zeros(3, dtype=torch.float64))
    assert math.isnan(figures["cosine_target_direction"])
    assert figures["cosine_target_baseline"] == pytest.approx(1)
    assert figures["difference_norm"] == 0


def test_an_outlier_moves_the_mean_and_not_the_median() -> None:
    sets = noise(20, 20, 6, 3)
    v = direction_of(sets)
    before = both_centers(sets, v)
    assert before["median_target_norm"] == pytest.approx(float(geometric_median(sets.target).norm()))
    assert before["mean_target_norm"] == pytest.approx(float(sets.target.mean(0).norm()))
    target = sets.target.clone()
    target[0] *= 1e4
    after = both_centers(PromptSets(target, sets.baseline), v)
    assert after["mean_target_norm"] > 100 * before["mean_target_norm"]
    assert after["median_target_norm"] < 3 * before["median_target_norm"]


def test_massive_activations_show_and_are_clamped() -> None:
    sets = noise(10, 10, 100, 4)
    sets.target[3, 17] = -5000.0
    clamped = winsorized(sets, 0.98)
    figures = winsorizing_figures(sets, clamped)
    assert figures["largest_component"] == 5000
    assert figures["largest_winsorized"] < 10
    assert figures["winsorized_share"] == pytest.approx(0.02)  # two of a hundred components lie above the quantile
    off = winsorizing_figures(sets, winsorized(sets, 1.0))
    assert off == {"winsorized_share": 0, "largest_component": 5000, "largest_winsorized": 5000}


def test_winsorizing_widens_what_is_stored_in_16_bits() -> None:
    half = PromptSets(*(x.to(torch.bfloat16) for x in noise(3, 3, 8, 5)))
    assert all(x.dtype == torch.float64 for x in winsorized(half, 0.9))
    assert winsorizing_figures(half, winsorized(half, 1.0))["winsorized_share"] == 0
