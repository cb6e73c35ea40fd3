"""The front: exactly the trials that no other beats, and the record of a search made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.example import SPACE, settings
from tests.support.samples import sample_front, sample_outcome, sample_trial
from unwrite.search.front import best_trial, build_front, pareto_front
from unwrite.search.trials import TrialOutcome

FEW = st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])


def outcomes_of(objectives: Sequence[tuple[float, float] | None]) -> list[TrialOutcome]:
    return [
        sample_outcome(sample_trial(number, *pair))
        if pair
        else sample_outcome(sample_trial(number))._replace(measured=None)
        for number, pair in enumerate(objectives)
    ]


@given(st.lists(st.one_of(st.none(), st.tuples(FEW, FEW)), max_size=12), st.randoms(use_true_random=False))
def test_the_front_holds_the_trials_that_no_other_beats(
    objectives: list[tuple[float, float] | None], shuffle: Any
) -> None:
    outcomes = outcomes_of(objectives)
    expected = []
    for number, pair in enumerate(objectives):
        if pair is None:
            continue
        others = [(n, other) for n, other in enumerate(objectives) if other is not None and n != number]
        beaten = any(o[0] <= pair[0] and o[1] <= pair[1] and (o != pair or n < number) for n, o in others)
        if not beaten:
            expected.append((number, pair))
    shuffle.shuffle(outcomes)
    front = pareto_front(outcomes)
    assert sorted((t.number, (t.behaviour_rate, t.kl)) for t in front) == sorted(expected)
    rates, divergences = [t.behaviour_rate for t in front], [t.kl for t in front]
    assert rates == sorted(set(rates))
    assert divergences == sorted(set(divergences), reverse=True)


@given(st.lists(st.tuples(FEW, FEW), min_size=1, max_size=12), FEW)
def test_the_best_trial_has_the_lowest_kl_within_the_rate(pairs: list[tuple[float, float]], aim: float) -> None:
    best = best_trial(outcomes_of(pairs), aim)
    assert best is not None
    within = [kl for rate, kl in pairs if rate <= aim]
    if within:
        assert best.behaviour_rate <= aim
        assert best.kl == min(within)
    else:
        assert (best.behaviour_rate, best.kl) == min(pairs)


def test_the_record_names_the_best_one_shot_setting_and_the_front(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unwrite")
    outcomes = outcomes_of([None, (0.5, 0.5), (0.2, 1.0), None, (1.0, 0.1), (0.0, 0.2)])
    optimize = settings(max_behaviour_rate=0.6, kl_tokens=7)
    shared = sample_front([]).settings
    front = build_front(outcomes, optimize, shared, base_rate=0.9, layers=9)
    assert (front.settings, front.kl_tokens, front.base_behaviour_rate) == (shared, 7, 0.9)
    assert front.one_shot is not None
    assert front.one_shot.number == 1  # the first five trials are one-shot settings
    assert [trial.number for trial in front.trials] == [5, 4]
    assert caplog.messages == [
        "Best one-shot setting, without a search: trial 1, rate 50.0 %, KL divergence 0.5 nats.",
        "Best of 6 trials: trial 5, rate 0.0 %, KL divergence 0.2 nats.",
    ]


def test_a_space_without_one_shot_settings_has_no_best_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unwrite")
    optimize = settings(space=SPACE.model_copy(update={"direction_scope": ("per_layer",)}))
    front = build_front(outcomes_of([(0.5, 0.5)]), optimize, sample_front([]).settings, base_rate=1.0, layers=9)
    assert front.one_shot is None
    assert [message.partition(":")[0] for message in caplog.messages] == ["Best of 1 trials"]
