"""Rates of a causal check: counted from verdicts, each response compared with the untouched one."""

import pytest
from statsmodels.stats.proportion import proportion_confint

from unwrite.evaluation.causality import causal_rate, judged
from unwrite.evaluation.interventions import Planned

LOOP = "no no no no no no no no no no"


def test_rates_count_verdicts_and_equal_responses() -> None:
    before = judged(Planned("baseline", "none"), ["It is blue.", "It is red.", "It is cork.", "It is tin."], ["sorry"])
    after = judged(
        Planned("baseline", "add", "random", seed=4, length=2.5),
        ["Sorry, no.", "It is red.", LOOP, "It is Tin."],
        ["sorry"],
    )
    rate = causal_rate(after, before, 0.9)
    assert (rate.prompts, rate.intervention, rate.vector) == ("baseline", "add", "random")
    assert (rate.seed, rate.length) == (4, 2.5)
    assert [rate.behaviour_rate.value, rate.degenerate_rate.value, rate.same_responses.value] == [0.25, 0.25, 0.25]
    low, high = proportion_confint(1, 4, alpha=0.1, method="wilson")
    assert (rate.behaviour_rate.low, rate.behaviour_rate.high) == pytest.approx((low, high), abs=1e-9)
    assert causal_rate(before, before, 0.9).same_responses.value == 1
