"""A share with its interval, against statsmodels."""

from __future__ import annotations

import pytest
from statsmodels.stats.proportion import proportion_confint

from unwrite.errors import UnwriteError
from unwrite.evaluation.shares import share_of


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (3, 8), (8, 8)])
def test_the_interval_is_wilsons(hits: int, n: int) -> None:
    share = share_of([True] * hits + [False] * (n - hits), 0.9)
    assert (share.value, share.n) == (hits / n, n)
    assert (share.low, share.high) == pytest.approx(proportion_confint(hits, n, 0.1, method="wilson"), abs=1e-9)


def test_no_responses_have_no_share() -> None:
    with pytest.raises(UnwriteError, match=r"artifacts/verdicts/: .* Run `dvc repro -f generate_responses`"):
        share_of([], 0.95)
