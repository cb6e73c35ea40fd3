"""The mathematics of a causal check, each with what would be wrong."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.causal import projected_out, push_length, random_unit_vector
from unwrite.core.directions import difference_direction, orthogonalize

QUICK = settings(deadline=None, derandomize=True, max_examples=30, database=None)


def vectors(seed: int, count: int, width: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@QUICK
@given(st.integers(0, 2**31), st.integers(2, 40))
def test_pushing_a_baseline_mean_takes_it_to_where_the_target_mean_lies_along_v(seed: int, width: int) -> None:
    target, baseline, other = vectors(seed, 3, width)
    for v in (difference_direction(target, baseline), other / other.norm()):
        pushed = baseline + push_length(v, target, baseline) * v
        assert float(pushed @ v) == pytest.approx(float(target @ v))


def test_the_whole_difference_is_pushed_only_along_a_direction_that_is_not_orthogonalized() -> None:
    target, baseline = vectors(0, 2, 16)
    v = difference_direction(target, baseline)
    assert push_length(v, target, baseline) == pytest.approx(float((target - baseline).norm()))
    assert push_length(orthogonalize(v, baseline), target, baseline) < 0.99 * float((target - baseline).norm())


@QUICK
@given(st.integers(0, 2**31), st.integers(2, 40))
def test_nothing_is_left_along_what_was_projected_out_and_the_rest_stays(seed: int, width: int) -> None:
    stream = vectors(seed, 6, width).reshape(2, 3, width)
    v = random_unit_vector(width, seed)
    rest = projected_out(stream, v)
    assert float((rest @ v).abs().max()) < 1e-12
    assert torch.allclose(rest + (stream @ v).unsqueeze(-1) * v, stream)
    assert torch.allclose(projected_out(rest, v), rest)
    other = projected_out(vectors(seed + 1, 1, width)[0], v)  # orthogonal to v, so nothing of it is removed
    assert torch.allclose(rest @ other, stream @ other)


def test_the_dtype_of_the_stream_stays() -> None:
    assert projected_out(torch.ones(1, 2, 8, dtype=torch.bfloat16), random_unit_vector(8, 0)).dtype == torch.bfloat16


def test_random_vectors_have_unit_norm_and_follow_from_their_seed() -> None:
    one = random_unit_vector(64, 3)
    assert float(one.norm()) == pytest.approx(1)
    assert torch.equal(one, random_unit_vector(64, 3))
    assert abs(float(one @ random_unit_vector(64, 4))) < 0.5
