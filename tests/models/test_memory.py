"""The limits of a pass are measured on CUDA (here with fake statistics), constant elsewhere, or as given."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.accelerator import CUDA, Accelerator
from unwrite.models.batches import FORWARD_TOKENS
from unwrite.models.memory import Limits, PassMemory, logits_that_fit, pass_limits, tokens_that_fit

CPU = torch.device("cpu")
PROMPTS = [[5, 6], [7, 8, 9], [10]]


def never(_: object) -> None:
    raise AssertionError("nothing may be measured")


@pytest.mark.parametrize("device", [CPU, torch.device("mps")])
def test_nothing_is_measured_without_memory_statistics(device: torch.device) -> None:
    constant = Limits(16384, FORWARD_TOKENS, 1 << 25)
    assert pass_limits(device, "auto", never, PROMPTS, 40) == constant
    assert pass_limits(device, 16384, never, PROMPTS, 40) == constant
    assert pass_limits(device, 300, never, PROMPTS, 40) == Limits(300, 300, 1 << 25)
    assert pass_limits(device, "auto", never, PROMPTS, 40, earlier=Limits(10**9, 10**9, 10**9)) == constant


@given(
    st.integers(0, 10**12),
    st.integers(1, 10**6),
    st.integers(0, 10**9),
    st.integers(1, 5000),
    st.integers(1, 5000),
)
def test_tokens_fill_their_share_and_one_more_would_not_fit(
    free: int, per_token: int, fixed: int, fewer: int, additional: int
) -> None:
    small, large = (PassMemory(tokens, fixed + per_token * tokens) for tokens in (fewer, fewer + additional))
    tokens = tokens_that_fit(free, small, large)
    assert tokens >= 1
    assert tokens == 1 or fixed + per_token * tokens <= 0.7 * free * (1 + 1e-9)
    assert fixed + per_token * (tokens + 1) > 0.7 * free * (1 - 1e-9)


def test_equal_peaks_do_not_divide_by_zero() -> None:
    assert tokens_that_fit(1000, PassMemory(10, 50), PassMemory(20, 50)) == 670
    assert tokens_that_fit(1000, PassMemory(10, 50), PassMemory(20, 40)) == 680


@given(st.integers(-(10**6), 10**12))
def test_logits_fill_their_share(free: int) -> None:
    assert logits_that_fit(free) == max(1, int(0.2 * free / 32))


def test_tokens_on_an_accelerator_are_what_its_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Accelerator(total=10**9, a_token=2000, always=10**6, workspace=10**7).install(monkeypatch)
    limits = pass_limits(CUDA, "auto", gpu.run, PROMPTS, 12)
    free = 10**9 - 1000 - 10**7
    assert limits == Limits(limits.generation, limits.generation, int(0.2 * free / 32))
    assert limits.generation == pytest.approx((0.7 * free - 10**6) / 2000, abs=1)
    # Rows are as long as the longest prompt with its response, minus the two tokens that go through no further pass.
    # The first pass allocates memory that is kept; then one pass is measured, and another with twice as many rows.
    rows = FORWARD_TOKENS // 13
    assert [len(rows) for rows in gpu.passes] == [rows, rows // 2, rows]
    assert gpu.passes[0][0] == [7, 8, 9] * 4 + [7]


def test_reserved_bytes_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Accelerator(total=10**9, a_token=2000).install(monkeypatch)
    limits = pass_limits(CUDA, "auto", gpu.run, PROMPTS, reserved_bytes=10**9 - 1000 - 10**8)
    assert limits == Limits(int(0.7 * 10**8 / 2000), int(0.7 * 10**8 / 2000), int(0.2 * 10**8 / 32))


def test_given_number_is_used_without_running_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    Accelerator(total=10**9, a_token=2000).install(monkeypatch)
    assert pass_limits(CUDA, 5000, never, PROMPTS) == Limits(5000, 5000, int(0.2 * (10**9 - 1000) / 32))


def test_earlier_limits_apply_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Accelerator(total=10**9, a_token=2000).install(monkeypatch)
    earlier = Limits(777, 777, 99)
    for batch_tokens in ("auto", 777):
        assert pass_limits(CUDA, batch_tokens, never, PROMPTS, earlier=earlier) == earlier
    assert pass_limits(CUDA, 778, gpu.run, PROMPTS, earlier=earlier).generation == 778


def test_rows_run_one_at_a_time_if_the_measurement_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Accelerator(total=10**6, a_token=2000).install(monkeypatch)
    assert pass_limits(CUDA, "auto", gpu.run, PROMPTS, 12).generation == 13
    assert len(gpu.passes) == 1


def test_long_prompts_are_measured_with_two_rows_and_one(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Accelerator(total=10**10, a_token=2000).install(monkeypatch)
    pass_limits(CUDA, "auto", gpu.run, [[1] * 5000])
    assert [len(rows) for rows in gpu.passes] == [2, 1, 2]
