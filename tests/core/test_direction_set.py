"""Directions from residuals: a planted difference is found, and the steps happen in the stated order."""

import pytest
import torch

from unwrite.core.direction_set import compute_directions, winsorize_prompts
from unwrite.core.directions import orthogonalize
from unwrite.core.winsorize import winsorize

N, P, INDICES, D = 40, 2, 3, 16


def residuals(seed: int, shift: torch.Tensor | float = 0.0) -> torch.Tensor:
    noise = torch.randn((N, P, INDICES, D), generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise + 1.0 + shift


def planted() -> torch.Tensor:
    directions = torch.randn((P, INDICES, D), generator=torch.Generator().manual_seed(7))
    return torch.nn.functional.normalize(directions, dim=-1)


def test_a_planted_direction_is_found_at_every_position_and_index() -> None:
    actual = compute_directions(residuals(0, planted()), residuals(1))
    assert actual["directions"].shape == (P, INDICES, D)
    assert float((actual["directions"] * planted()).sum(-1).min()) > 0.97
    control = compute_directions(residuals(0), residuals(1))
    assert float((control["directions"] * planted()).sum(-1).abs().max()) < 0.8


def test_the_directions_are_of_the_means_returned_with_them() -> None:
    actual = compute_directions(residuals(0, planted()), residuals(1))
    difference = actual["target_mean"] - actual["baseline_mean"]
    torch.testing.assert_close(actual["directions"], torch.nn.functional.normalize(difference, dim=-1))


@pytest.mark.parametrize("method", ["projected", "biprojected"])
def test_orthogonalized_directions_have_no_part_along_the_baseline_mean(method: str) -> None:
    target, baseline = residuals(0, planted()), residuals(1)
    plain = compute_directions(target, baseline)
    actual = compute_directions(target, baseline, orthogonalization=method)  # type: ignore[arg-type]
    assert float((actual["directions"] * actual["baseline_mean"]).sum(-1).abs().max()) < 1e-6
    assert float((plain["directions"] * plain["baseline_mean"]).sum(-1).abs().max()) > 1e-3
    expected = orthogonalize(plain["directions"], plain["baseline_mean"])
    torch.testing.assert_close(actual["directions"].double(), expected, rtol=0, atol=1e-6)


def test_residuals_are_winsorized_before_the_mean() -> None:
    target, baseline = residuals(0, planted()), residuals(1)
    target[0, :, :, 0] = 1e4
    clamped = compute_directions(target, baseline, quantile=0.9)
    assert float((clamped["directions"] * planted()).sum(-1).min()) > 0.9
    unclamped = compute_directions(target, baseline)
    assert float((unclamped["directions"] * planted()).sum(-1).max()) < 0.9


def test_prompts_are_winsorized_one_by_one() -> None:
    torch.testing.assert_close(winsorize_prompts(residuals(3), 0.8), winsorize(residuals(3), 0.8))


def test_the_results_are_stored_in_float32_whatever_the_residuals_are() -> None:
    target, baseline = residuals(0, planted()).bfloat16(), residuals(1).bfloat16()
    assert {tensor.dtype for tensor in compute_directions(target, baseline).values()} == {torch.float32}
