"""The search: a seed fixes its trials, a larger budget extends them, a failed trial is a trial; and the front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.artifacts import Kernel, TrialParameters
from unwrite.errors import UnwriteError
from unwrite.params import KernelSpace, Space
from unwrite.search.study import pareto_front, run_study
from unwrite.trials import Outcome

KERNEL = KernelSpace(
    max_weight=(-0.25, 1.5), max_weight_position=(0.0, 1.0), min_weight=(0.0, 1.0), min_weight_distance=(0.0, 0.6)
)
SPACE = Space(
    direction_scope=("global", "per_layer"), direction_index=(0.4, 0.9), spans=(), attention=KERNEL, mlp=KERNEL
)
Evaluate = Callable[[TrialParameters], tuple[float, float]]


def objective(parameters: TrialParameters) -> tuple[float, float]:
    strength = parameters.attention.max_weight + parameters.mlp.max_weight
    return max(0.0, 1 - strength / 2), strength * parameters.direction_index


def run(evaluate: Evaluate = objective, **changes: Any) -> list[Outcome]:
    settings = {"trials": 20, "random_trials": 6, "batch": 5, "seed": 0, "layers": 9, "positions": 2} | changes
    return list(run_study(evaluate, SPACE, **settings))


def trials(outcomes: list[Outcome]) -> list[tuple[Any, ...]]:
    return [(o.number, o.parameters, o.objectives, o.reason) for o in outcomes]


def test_the_same_seed_gives_the_same_trials() -> None:
    assert trials(run()) == trials(run())
    assert [o.number for o in run()] == list(range(20))


def test_another_seed_gives_others() -> None:
    assert all(a.parameters != b.parameters for a, b in zip(run(), run(seed=1), strict=True))


def test_the_sampler_learns_after_the_random_trials() -> None:
    # The same parameters while they are random, whatever was measured; others once it counts.
    def contrary(parameters: TrialParameters) -> tuple[float, float]:
        rate, divergence = objective(parameters)
        return 1 - rate, -divergence

    ours, theirs = ([o.parameters for o in run(evaluate)] for evaluate in (objective, contrary))
    assert ours[:5] == theirs[:5]
    assert ours[10:] != theirs[10:]


def test_a_larger_budget_extends_a_smaller_one() -> None:
    assert trials(run(trials=10)) == trials(run(trials=20))[:10]


@pytest.mark.parametrize("count", [1, 5, 7, 12])
def test_as_many_trials_as_asked_for(count: int) -> None:
    assert len(run(trials=count)) == count


def test_trials_of_a_batch_are_asked_for_before_any_is_told() -> None:
    # With one batch nothing measured can matter.
    def fail(_: TrialParameters) -> tuple[float, float]:
        raise UnwriteError("spilt")

    assert [o.parameters for o in run(batch=20)] == [o.parameters for o in run(fail, batch=20)]


def test_a_failed_trial_is_recorded_with_its_reason_and_the_search_goes_on() -> None:
    count = 0

    def sometimes(parameters: TrialParameters) -> tuple[float, float]:
        nonlocal count
        count += 1
        if count % 3 == 0:
            raise UnwriteError(f"spilt at {count}")
        return objective(parameters)

    outcomes = run(sometimes)
    assert count == len(outcomes) == 20
    failed = [o for o in outcomes if o.objectives is None]
    assert [(o.number, o.reason) for o in failed] == [(n - 1, f"spilt at {n}") for n in (3, 6, 9, 12, 15, 18)]
    assert all(o.reason == "" for o in outcomes if o.objectives is not None)
    assert all(o.objectives == objective(o.parameters) for o in outcomes if o.objectives is not None)


def test_all_trials_failing_is_the_callers_to_judge() -> None:
    def fail(_: TrialParameters) -> tuple[float, float]:
        raise UnwriteError("spilt")

    outcomes = run(fail)
    assert [o.reason for o in outcomes] == ["spilt"] * 20
    assert pareto_front(outcomes) == []


def test_a_bug_is_not_a_failed_trial() -> None:
    def broken(_: TrialParameters) -> tuple[float, float]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(broken)


def test_outcomes_come_as_they_end() -> None:
    seen: list[int] = []

    def watch(parameters: TrialParameters) -> tuple[float, float]:
        seen.append(len(seen))
        return objective(parameters)

    outcomes = run_study(watch, SPACE, trials=4, random_trials=2, batch=2, seed=0, layers=4, positions=1)
    for done, outcome in enumerate(outcomes, 1):
        assert len(seen) == done
        assert outcome.seconds >= 0


ANY_KERNEL = Kernel(max_weight=1, max_weight_position=1, min_weight=1, min_weight_distance=1)
ANY = TrialParameters(direction_scope="global", direction_index=1, position=0, attention=ANY_KERNEL, mlp=ANY_KERNEL)
FEW = st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])


@given(st.lists(st.one_of(st.none(), st.tuples(FEW, FEW)), max_size=12), st.randoms(use_true_random=False))
def test_the_front_is_what_no_other_trial_beats(objectives: list[tuple[float, float] | None], shuffle: Any) -> None:
    outcomes = [Outcome(number, ANY, pair, "" if pair else "spilt", 0.0) for number, pair in enumerate(objectives)]
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
    assert sorted((t.number, (t.behaviour_rate, t.divergence)) for t in front) == sorted(expected)
    rates, divergences = [t.behaviour_rate for t in front], [t.divergence for t in front]
    assert rates == sorted(set(rates))
    assert divergences == sorted(set(divergences), reverse=True)


def test_the_sampler_is_multivariate_and_lies_about_running_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either, batches hold near-duplicates and parameters are sampled as if they had nothing to do together."""
    import optuna

    asked: dict[str, Any] = {}
    sampler = optuna.samplers.TPESampler

    def record(**settings: Any) -> Any:
        asked.update(settings)
        return sampler(**settings)

    monkeypatch.setattr(optuna.samplers, "TPESampler", record)
    run(trials=2)
    assert asked == {"seed": 0, "multivariate": True, "constant_liar": True, "n_startup_trials": 6}
