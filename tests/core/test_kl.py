"""KL divergence against scipy, and the cases −inf, NaN and +inf."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from torch import Tensor

from unwrite.core.kl import kl_divergence, kl_from_log_probs, log_probabilities

CHECK = settings(deadline=None, derandomize=True, max_examples=60, database=None)
INF = math.inf


def pair(seed: int, tokens: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    both = torch.randn(2, 3, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4
    return both[0].to(dtype), both[1].to(dtype)


@CHECK
@given(st.integers(0, 2**31), st.integers(1, 50))
def test_the_divergence_equals_that_of_scipy(seed: int, tokens: int) -> None:
    base, edited = pair(seed, tokens)
    expected = rel_entr(softmax(base.numpy(), axis=-1), softmax(edited.numpy(), axis=-1)).sum(-1)
    actual = kl_divergence(base, edited)
    assert actual.dtype == torch.float64
    assert actual.tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    assert kl_from_log_probs(log_probabilities(base), edited).tolist() == actual.tolist()


def test_a_known_value_is_in_nats_and_from_base_to_edited() -> None:
    half, quarter = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    assert float(kl_divergence(half, quarter)) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6)
    assert float(kl_divergence(quarter, half)) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-6)


@CHECK
@given(st.integers(0, 2**31), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_the_divergence_is_never_negative_zero_for_equal_logits_and_invariant_to_a_constant(
    seed: int, dtype: torch.dtype
) -> None:
    base, edited = pair(seed, 300, dtype)
    assert bool((kl_divergence(base, edited) >= 0).all())
    assert bool((kl_divergence(base, base + 1e-7) >= 0).all())
    assert not kl_divergence(base, base).any()
    moved = kl_divergence(base.double(), edited.double() + 3)
    assert moved.tolist() == pytest.approx(kl_divergence(base.double(), edited.double()).tolist(), abs=1e-12)


def test_narrow_logits_are_computed_in_float32() -> None:
    base, edited = pair(0, 200, torch.bfloat16)
    actual = kl_divergence(base, edited)
    assert actual.dtype == torch.float32
    assert actual.tolist() == pytest.approx(kl_divergence(base.double(), edited.double()).tolist(), rel=1e-5)


def test_one_base_serves_several_edits() -> None:
    base, edited = pair(1, 20)
    many = torch.stack([edited, base])
    assert kl_divergence(base, many)[0].tolist() == kl_divergence(base, edited).tolist()
    assert not kl_divergence(base, many)[1].any()


def test_a_token_at_minus_infinity_in_both_changes_nothing() -> None:
    base, edited = pair(2, 20)
    padding = torch.full((3, 4), -INF, dtype=torch.float64)
    padded = kl_divergence(torch.cat([base, padding], -1), torch.cat([edited, padding], -1))
    assert padded.tolist() == pytest.approx(kl_divergence(base, edited).tolist(), abs=1e-14)


def test_a_token_at_minus_infinity_in_one_is_left_out_of_the_sum() -> None:
    third = math.log(1 / 3)
    full, without = torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0.0, -INF], dtype=torch.float64)
    # The base model never generates the third token: two terms of ½ log(½ / ⅓).
    assert float(kl_divergence(without, full)) == pytest.approx(math.log(0.5) - third)
    # Only the edited model never does: ⅔ log(⅓ / ½) is below 0, so it is clamped.
    assert float(kl_divergence(full, without)) == 0
    # It is not normalized again over the first two, which would give KL((½, ½) ‖ (0.999, 0.001)) = 2.76.
    base = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64).log()
    edited = torch.tensor([0.999, 0.001, 0.0], dtype=torch.float64).log()
    expected = 0.25 * math.log(0.25 / 0.999) + 0.25 * math.log(0.25 / 0.001)
    assert float(kl_divergence(base, edited)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("row", "what"), [([0.0, math.nan], "NaN"), ([0.0, INF], r"\+inf"), ([-INF, -INF], "only −inf")]
)
def test_rows_without_a_distribution_are_refused(row: list[float], what: str) -> None:
    bad, good = torch.tensor([[0.0, 0.0], row]), torch.zeros(2, 2)
    with pytest.raises(ValueError, match=f"base logits must be finite or −inf, got {what} in 1 of 2 rows"):
        kl_divergence(bad, good)
    with pytest.raises(ValueError, match=f"edited logits must be finite or −inf, got {what} in 1 of 2 rows"):
        kl_divergence(good, bad)
    with pytest.raises(ValueError, match=f"base logits must be finite or −inf, got {what}"):
        kl_from_log_probs(bad, good)


def test_vocabularies_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 tokens in the base and 1 in the edited model"):
        kl_divergence(torch.zeros(3), torch.zeros(1))
