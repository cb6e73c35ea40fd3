"""Each vector is clamped to its own quantile."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core import winsorize as module
from unwrite.core.winsorize import winsorize


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.floats(0.01, 1))
def test_clamping_equals_its_definition(numbers: list[float], quantile: float) -> None:
    # The quantile computed by hand: linear between the two order statistics around q (d − 1).
    ordered = sorted(map(abs, numbers))
    place = quantile * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    limit = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    expected = [max(-limit, min(limit, number)) for number in numbers]
    actual = winsorize(torch.tensor(numbers, dtype=torch.float64), quantile)
    assert actual.tolist() == pytest.approx(expected, abs=1e-9)


def test_each_vector_has_its_own_limit() -> None:
    x = torch.tensor([[1.0, -2.0, 3.0, -100.0, 0.0], [10.0, 10.0, 10.0, 10.0, -10.0]])
    assert winsorize(x, 0.75).tolist() == [[1.0, -2.0, 3.0, -3.0, 0.0], [10.0, 10.0, 10.0, 10.0, -10.0]]
    assert x[0, 3] == -100  # the input is unchanged


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_quantile_one_is_off_and_the_result_is_float32_or_wider(dtype: torch.dtype) -> None:
    x = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    off = winsorize(x, 1)
    assert off.dtype == winsorize(x, 0.9).dtype == torch.promote_types(dtype, torch.float32)
    assert torch.equal(off, x.to(off.dtype))
    assert not torch.equal(winsorize(x, 0.9), off)


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(7, 3, 50, generator=torch.Generator().manual_seed(1))
    whole = winsorize(x, 0.95)
    monkeypatch.setattr(module, "_SLICE_NUMBERS", 120)
    assert torch.equal(winsorize(x, 0.95), whole)
    monkeypatch.setattr(module, "_SLICE_NUMBERS", 1)
    assert torch.equal(winsorize(x, 0.95), whole)


def test_more_numbers_than_older_versions_of_torch_accept_at_once() -> None:
    x = torch.ones(1, 1).expand(2**24 // 8192 + 1, 8192)
    assert torch.equal(winsorize(x, 0.5), x)


def test_an_empty_tensor_stays_empty() -> None:
    assert winsorize(torch.ones(0, 4), 0.5).shape == (0, 4)


@pytest.mark.parametrize("quantile", [0.0, -0.5, 1.001, float("nan")])
def test_a_quantile_out_of_range_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match=r"quantile must be in \(0, 1\]"):
        winsorize(torch.ones(3), quantile)
