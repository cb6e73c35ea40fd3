"""What a sampler is told about a trial, and that nothing but that and its seed decides what it asks."""

from __future__ import annotations

import math
from typing import Any, get_args

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.search.samplers import _CHEAPER, Told, ask, make_sampler, reseeded, tell
from unwrite.search.trials import Measured
from unwrite.terms import Sampler

SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
SPACE = {
    "x": optuna.distributions.FloatDistribution(0, 1),
    "y": optuna.distributions.CategoricalDistribution(["a", "b"]),
}
TOLD = [({"x": n / 7, "y": "ab"[n % 2]}, Told([(n / 7 - 0.3) ** 2], {"behaviour rate": 0.4 - n / 7})) for n in range(8)]


def asked(sampler: Sampler = "gp", *, seed: int = 0, count: int = 2, random_trials: int = 5, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"told": TOLD, "distributions": SPACE, "first": [], "count": count} | changes
    return ask(make_sampler(sampler, seed=seed, random_trials=random_trials), **arguments)


def test_plain_tpe_is_told_both_objectives() -> None:
    assert tell("tpe", Measured(0.25, 0.5), 0.1) == ([0.25, 0.5], None)
    assert tell("tpe", Measured(None, 7.0), 0.1) == ([1.0, 7.0], None)


RATES = st.integers(0, 100).map(lambda n: n / 100)


@pytest.mark.parametrize("sampler", [sampler for sampler in SAMPLERS if sampler != "tpe"])
@given(rate=RATES, aim=RATES)
def test_the_others_are_told_whether_the_rate_is_reached(sampler: Sampler, rate: float, aim: float) -> None:
    (value,), constraints = tell(sampler, Measured(rate, 0.5), aim)
    assert value == math.log(0.5)
    assert constraints is not None
    assert all(over <= 0 for over in constraints.values()) == (rate <= aim)


def test_a_hopeless_trial_is_hopeless_for_its_divergence() -> None:
    (value,), constraints = tell("gp", Measured(None, 20.0), 0.1)
    assert value == math.log(20)
    assert constraints == {"behaviour rate": -0.1}


def test_no_divergence_at_all_is_a_small_one() -> None:
    assert math.isfinite(tell("gp", Measured(1.0, 0.0), 0.1).values[0])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seed_and_trials_decide_what_is_asked(sampler: Sampler) -> None:
    assert asked(sampler) == asked(sampler)
    assert asked(sampler) != asked(sampler, seed=1)
    assert asked(sampler) != asked(sampler, told=TOLD[:6])
    assert asked(sampler, count=3)[:2] == asked(sampler)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_at_random_until_it_was_told_enough(sampler: Sampler) -> None:
    other = [(sampled, Told([-values[0]], constraints)) for sampled, (values, constraints) in TOLD]
    assert asked(sampler, random_trials=9) == asked(sampler, random_trials=9, told=other)
    assert asked(sampler) != asked(sampler, told=other)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_must_come_first_comes_first(sampler: Sampler) -> None:
    first = [{"x": 0.125, "y": "b"}, {"x": 0.25, "y": "a"}]
    assert asked(sampler, first=first, count=3)[:2] == first
    assert asked(sampler, first=first, told=[], count=1) == first[:1]


def test_the_constraint_counts() -> None:
    # The least value is at 0.3, which only those above 0.4 may have: the best allowed is next to 0.4.
    free = [(sampled, Told(values, None)) for sampled, (values, _) in TOLD]
    assert all(0.35 < sampled["x"] < 0.6 for sampled in asked(count=1))
    assert all(0.2 < sampled["x"] < 0.35 for sampled in asked(count=1, told=free))


def test_seeds_differ_from_batch_to_batch_and_from_seed_to_seed() -> None:
    assert len({reseeded(seed, ended) for seed in range(20) for ended in range(0, 100, 5)}) == 400


def test_tpe_is_multivariate_and_lies_about_running_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either, batches hold near-duplicates and parameters are sampled as if they had nothing to do together."""
    made: dict[str, Any] = {}
    monkeypatch.setattr(optuna.samplers, "TPESampler", lambda **settings: made.update(settings))
    make_sampler("tpe", seed=3, random_trials=6)
    assert made == {"seed": 3, "multivariate": True, "constant_liar": True, "n_startup_trials": 6}


def test_what_makes_the_gaussian_process_cheaper_is_there_in_optuna() -> None:
    assert set(_CHEAPER) <= set(vars(optuna.samplers.GPSampler()))
