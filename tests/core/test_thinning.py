"""Thinning keeps the right number, in order, spread over all of them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from unwrite.core.thinning import thinned


@given(count=st.integers(0, 500), most=st.integers(1, 500))
def test_it_keeps_as_many_as_allowed_evenly_spaced(count: int, most: int) -> None:
    kept = thinned(count, most)
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    assert set(kept) <= set(range(count))
    gaps = {b - a for a, b in pairwise(kept)}
    assert not gaps or max(gaps) - min(gaps) <= 1
