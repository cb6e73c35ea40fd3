"""Samplers: their observations of a trial, and samples that depend only on observations and the seed."""

from __future__ import annotations

import math
import re
from typing import Any, get_args

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.errors import UnwriteError
from unwrite.search.samplers import _GP_OVERRIDES, Observation, ask, batch_seed, make_sampler, observe
from unwrite.search.space import Sampled
from unwrite.search.trials import Measured
from unwrite.terms import Sampler

SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
SPACE = {
    "x": optuna.distributions.FloatDistribution(0, 1),
    "y": optuna.distributions.CategoricalDistribution(["a", "b"]),
}
OBSERVED: list[tuple[Sampled, Observation]] = [
    ({"x": n / 7, "y": "ab"[n % 2]}, Observation([(n / 7 - 0.3) ** 2], {"behaviour rate": 0.4 - n / 7}))
    for n in range(8)
]


def asked(sampler: Sampler = "gp", *, seed: int = 0, count: int = 2, random_trials: int = 5, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"observed": OBSERVED, "distributions": SPACE, "first": [], "count": count} | changes
    return ask(make_sampler(sampler, seed=seed, random_trials=random_trials), **arguments)


def test_tpe_observes_both_objectives() -> None:
    assert observe("tpe", Measured(0.25, 0.5), 0.1) == ([0.25, 0.5], None)
    assert observe("tpe", Measured(None, 7.0), 0.1) == ([1.0, 7.0], None)


RATES = st.integers(0, 100).map(lambda n: n / 100)


@pytest.mark.parametrize("sampler", [sampler for sampler in SAMPLERS if sampler != "tpe"])
@given(rate=RATES, aim=RATES)
def test_the_other_samplers_observe_whether_the_rate_is_reached(sampler: Sampler, rate: float, aim: float) -> None:
    (value,), constraints = observe(sampler, Measured(rate, 0.5), aim)
    if sampler == "gp" and rate > aim:
        assert value > math.log(0.5)
    else:
        assert value == math.log(0.5)
    assert constraints is not None
    assert all(over <= 0 for over in constraints.values()) == (rate <= aim)


def test_for_gp_only_the_kl_counts_against_a_trial_above_max_kl() -> None:
    (value,), constraints = observe("gp", Measured(None, 20.0), 0.1)
    assert value == math.log(20)
    assert constraints == {"behaviour rate": -0.1}


@given(aim=st.floats(0, 0.5), highest=st.floats(0.6, 1), rate=st.floats(0, 1), kl=st.floats(1e-3, 1))
def test_for_gp_a_trial_above_the_rate_is_penalized_in_proportion(
    aim: float, highest: float, rate: float, kl: float
) -> None:
    def penalty(rate: float) -> float:
        return observe("gp", Measured(rate, kl), aim, highest).values[0] - math.log(kl)

    assert penalty(aim) == 0
    assert penalty(highest) == pytest.approx(penalty(aim + (highest - aim) / 4) * 4)
    assert 0 <= penalty(min(rate, highest)) <= penalty(highest)


@given(aim=st.floats(0, 0.5), highest=st.floats(0.6, 1), best=st.floats(0, 1))
def test_for_gp_an_edit_that_does_nothing_looks_worse_than_the_best_within_the_rate(
    aim: float, highest: float, best: float
) -> None:
    (nothing,) = observe("gp", Measured(highest, 0.0), aim, highest, best).values
    assert nothing > observe("gp", Measured(aim, best), aim, highest, best).values[0]


def test_for_gp_a_trial_just_above_the_rate_still_tells_its_kl() -> None:
    (near,) = observe("gp", Measured(0.11, 0.005), 0.1, 1.0, 0.01).values
    assert near < math.log(0.01)


def test_the_control_alone_the_penalty_lets_an_edit_that_does_nothing_look_better() -> None:
    assert observe("gp", Measured(1.0, 0.0), 0.1).values[0] < math.log(0.005)


def test_a_kl_of_zero_has_a_finite_logarithm() -> None:
    assert math.isfinite(observe("gp", Measured(1.0, 0.0), 0.1).values[0])


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_depend_on_the_seed_and_the_observed_trials(sampler: Sampler) -> None:
    assert asked(sampler) == asked(sampler)
    assert asked(sampler) != asked(sampler, seed=1)
    assert asked(sampler) != asked(sampler, observed=OBSERVED[:6])
    assert asked(sampler, count=3)[:2] == asked(sampler)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampling_is_random_until_enough_trials_are_observed(sampler: Sampler) -> None:
    other = [(sampled, Observation([-values[0]], constraints)) for sampled, (values, constraints) in OBSERVED]
    assert asked(sampler, random_trials=9) == asked(sampler, random_trials=9, observed=other)
    assert asked(sampler) != asked(sampler, observed=other)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_given_settings_come_first(sampler: Sampler) -> None:
    first = [{"x": 0.125, "y": "b"}, {"x": 0.25, "y": "a"}]
    assert asked(sampler, first=first, count=3)[:2] == first
    assert asked(sampler, first=first, observed=[], count=1) == first[:1]


def test_no_trial_is_asked_for_twice() -> None:
    class Stubborn(optuna.samplers.RandomSampler):
        """Samples what was observed first, always."""

        def sample_independent(self, _study: Any, _trial: Any, name: str, _distribution: Any) -> Any:
            return OBSERVED[0][0][name]

    found = ask(Stubborn(seed=0), OBSERVED, SPACE, [], 3)
    assert len({tuple(sampled.values()) for sampled in [*found, OBSERVED[0][0]]}) == 4
    assert found == ask(Stubborn(seed=1), OBSERVED, SPACE, [], 3)
    assert found[0] != ask(Stubborn(seed=0), OBSERVED[:7], SPACE, [], 1)[0]  # drawn anew for every batch


def test_where_there_is_but_one_setting_it_is_asked_for_again() -> None:
    only = {"x": optuna.distributions.FloatDistribution(0.5, 0.5)}
    assert asked(distributions=only, observed=[({"x": 0.5}, OBSERVED[0][1])]) == [{"x": 0.5}] * 2


def test_the_constraint_excludes_the_unconstrained_optimum() -> None:
    # The optimum is at 0.3, but only values above 0.4 are allowed, so the best allowed one is next to 0.4.
    free = [(sampled, Observation(values, None)) for sampled, (values, _) in OBSERVED]
    assert all(0.35 < sampled["x"] < 0.6 for sampled in asked(count=1))
    assert all(0.2 < sampled["x"] < 0.35 for sampled in asked(count=1, observed=free))


def test_seeds_differ_from_batch_to_batch_and_from_seed_to_seed() -> None:
    assert len({batch_seed(seed, ended) for seed in range(20) for ended in range(0, 100, 5)}) == 400


def test_tpe_is_multivariate_and_assumes_that_running_trials_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without these, a batch holds near-duplicates, and parameters are sampled independently of each other."""
    made: dict[str, Any] = {}
    monkeypatch.setattr(optuna.samplers, "TPESampler", lambda **settings: made.update(settings))
    make_sampler("tpe", seed=3, random_trials=6)
    assert made == {"seed": 3, "multivariate": True, "constant_liar": True, "n_startup_trials": 6}


def test_optuna_has_the_attributes_that_make_the_gaussian_process_cheaper() -> None:
    assert set(_GP_OVERRIDES) <= set(vars(optuna.samplers.GPSampler()))


def test_a_missing_attribute_raises_an_error_that_names_optunas_version(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed(optuna.samplers.GPSampler):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            del self._n_qmc_samples_qei

    monkeypatch.setattr(optuna.samplers, "GPSampler", Renamed)
    expected = rf"^Optuna {re.escape(optuna.__version__)} has no GPSampler\._n_qmc_samples_qei, which the search sets"
    with pytest.raises(UnwriteError, match=expected):
        make_sampler("gp", seed=0, random_trials=6)
