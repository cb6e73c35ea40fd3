"""Splits never need more prompts than there are, and say what is left over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.errors import UnwriteError
from unwrite.projects.splits import fitted_splits, splits_text


@given(st.integers(6, 3000), st.integers(6, 3000))
def test_the_splits_fit_both_sets(target: int, baseline: int) -> None:
    splits = fitted_splits(target, baseline)
    assert sum(splits.values()) <= min(target, baseline)
    assert splits["train"] >= 2
    assert min(splits.values()) >= 1
    assert splits["train"] >= splits["validation"] + splits["test"]


@given(st.integers(6, 599))
def test_none_of_few_prompts_is_left_over(prompts: int) -> None:
    assert sum(fitted_splits(prompts, prompts).values()) == prompts


def test_many_prompts_are_cut_to_a_good_size_and_that_is_said() -> None:
    splits = fitted_splits(600, 1000)
    assert splits == {"train": 400, "validation": 100, "test": 100}
    text = splits_text(splits, 600, 1000)
    assert "The first 600 of each are used" in text
    assert "wide intervals" not in text
    assert "are used" not in splits_text(splits, 600, 600)


def test_few_test_prompts_are_said_to_be_few() -> None:
    assert "Rates of 5 test prompts have wide intervals" in splits_text(fitted_splits(30, 30), 30, 30)


def test_too_few_are_refused() -> None:
    with pytest.raises(UnwriteError, match="at least 6 target and 6 baseline prompts, got 5 and 100"):
        fitted_splits(5, 100)
