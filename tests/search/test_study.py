"""The search: a seed fixes its trials, a larger budget extends them, and a failed trial does not stop them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
import torch

from tests.support.example import SPACE, evaluate, measure, settings
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import TrialParameters
from unwrite.schema.params import Space
from unwrite.search import study
from unwrite.search.front import best_trial, pareto_front
from unwrite.search.racing import ANY_TRIAL, Standard
from unwrite.search.samplers import Observation, observe
from unwrite.search.space import one_shot_settings, starting_settings, trial_parameters
from unwrite.search.study import EvaluateTrials, run_study
from unwrite.search.trials import OVER_MAX_KL, STOPPED, Measured, TrialOutcome
from unwrite.terms import Sampler

LAYERS, POSITIONS = 9, 2
STARTS = starting_settings(SPACE, layers=LAYERS)


def all_succeed(trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
    return [measure(parameters) for parameters in trials]


def all_fail(trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
    return [UnwriteError("spilt") for _ in trials]


def run(
    evaluate: EvaluateTrials = all_succeed, done: Sequence[TrialOutcome] = (), **changes: Any
) -> list[TrialOutcome]:
    batches = run_study(evaluate, settings(**changes), done=done, layers=LAYERS, positions=POSITIONS)
    return [outcome for batch in batches for outcome in batch]


def without_seconds(outcomes: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    return [outcome._replace(seconds=0) for outcome in outcomes]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_same_seed_gives_the_same_trials(sampler: Sampler) -> None:
    first, second = (run(sampler=sampler, trials=12, batch=4) for _ in range(2))
    assert without_seconds(first) == without_seconds(second)
    assert [o.number for o in first] == list(range(12))


def test_another_seed_gives_other_trials() -> None:
    ours, theirs = ([o.parameters for o in run(seed=seed)[len(STARTS) :]] for seed in (0, 1))
    assert all(a != b for a, b in zip(ours, theirs, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_sampler_learns_after_the_random_trials(sampler: Sampler) -> None:
    # Measurements change nothing while parameters are random, and change them afterwards.
    def contrary(trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
        return [Measured(1 - (rate or 0), 2 - kl) for rate, kl, _ in map(measure, trials)]

    ours, theirs = (
        [o.parameters for o in run(judge, sampler=sampler, trials=12, batch=4)] for judge in (all_succeed, contrary)
    )
    assert ours[:8] == theirs[:8]
    assert ours[8:] != theirs[8:]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_batch_depends_only_on_the_trials_before_it(sampler: Sampler) -> None:
    few: dict[str, Any] = {"sampler": sampler, "trials": 16, "batch": 4}
    whole = run(evaluate, **few)
    for before in (4, 12):
        assert without_seconds(run(evaluate, whole[:before], **few)) == without_seconds(whole[before:])


@pytest.mark.parametrize(("trials", "batches"), [(1, 1), (5, 1), (7, 2), (12, 3)])
def test_trials_are_run_in_whole_batches(trials: int, batches: int) -> None:
    sizes: list[int] = []

    def count(asked: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
        sizes.append(len(asked))
        return all_succeed(asked)

    assert len(run(count, trials=trials)) == 5 * batches
    assert sizes == [5] * batches


def test_a_finished_search_runs_no_trial() -> None:
    def never(*_: object) -> list[Measured | UnwriteError]:
        raise AssertionError

    assert run(never, run(trials=20), trials=20) == []


def test_trials_of_a_batch_are_asked_for_before_any_is_measured() -> None:
    # With a single batch, no measurement can matter.
    assert [o.parameters for o in run(batch=20)] == [o.parameters for o in run(all_fail, batch=20)]


def test_trials_of_a_batch_differ() -> None:
    sampled = [str(sorted(o.sampled.items())) for o in run(trials=12, batch=4, sampler="gp")]
    assert len(set(sampled)) == 12


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_trials_of_a_batch_differ_without_one_shots_and_with_one_random_trial(sampler: Sampler) -> None:
    space = SPACE.model_copy(update={"direction_scope": ("per_layer",)})
    assert one_shot_settings(space, layers=LAYERS) == []
    for judge in (all_succeed, all_fail):
        outcomes = run(judge, trials=9, batch=3, random_trials=1, sampler=sampler, space=space)
        assert len({str(sorted(o.sampled.items())) for o in outcomes}) == 9


def test_a_failed_trial_keeps_its_reason_and_the_search_continues() -> None:
    outcomes = run(evaluate, trials=40)
    failed = [o for o in outcomes if o.measured is None]
    assert failed
    assert {o.reason for o in failed} == {"logits are NaN"}
    for outcome in outcomes:
        assert outcome.parameters == trial_parameters(outcome.sampled)
        if not outcome.reason:
            assert outcome.measured == measure(outcome.parameters)


def test_a_trial_above_max_kl_has_a_kl_and_no_rate() -> None:
    above = [o for o in run(evaluate, trials=40) if o.reason == OVER_MAX_KL]
    assert above
    for outcome in above:
        assert outcome.measured is not None
        assert outcome.measured.behaviour_rate is None
        assert outcome.measured.kl > 1
    assert pareto_front(above) == []


def test_a_search_of_failed_trials_ends_without_an_error() -> None:
    outcomes = run(all_fail)
    assert [o.reason for o in outcomes] == ["spilt"] * 20
    assert pareto_front(outcomes) == []
    assert best_trial(outcomes, 1.0) is None


@pytest.mark.parametrize("error", [ZeroDivisionError, UnwriteError("the model is gone")])
def test_a_raised_error_is_not_a_failed_trial(error: Any) -> None:
    def broken(*_: object) -> list[Measured | UnwriteError]:
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        run(broken)


def test_batches_are_yielded_as_they_end() -> None:
    seen: list[int] = []

    def watch(trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
        seen.append(len(trials))
        return all_succeed(trials)

    for done, batch in enumerate(run_study(watch, settings(), done=[], layers=LAYERS, positions=POSITIONS), 1):
        assert len(seen) == done
        assert all(outcome.seconds >= 0 for outcome in batch)


def test_later_batches_must_beat_the_best_trial_before_them() -> None:
    standards: list[Standard] = []

    def watch(trials: Sequence[TrialParameters], standard: Standard) -> list[Measured | UnwriteError]:
        standards.append(standard)
        return all_succeed(trials)

    outcomes = run(watch, trials=15, sampler="gp", max_behaviour_rate=0.2)
    assert standards == [Standard(best_trial(outcomes[:done], 0.2), 0.2) for done in (0, 5, 10)]
    assert standards[0].best is None
    for whole_front in ({"sampler": "tpe"}, {"racing": False}):
        standards.clear()
        run(watch, trials=15, **whole_front)
        assert standards == [ANY_TRIAL] * 3


def test_the_sampler_is_told_the_best_trial_within_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float | None] = []

    def watch(*arguments: Any) -> Observation:
        told.append(arguments[-1])
        return observe(*arguments)

    monkeypatch.setattr(study, "observe", watch)
    outcomes = run(trials=15, sampler="gp", max_behaviour_rate=0.2)
    best = [best_trial(outcomes[:done], 0.2) for done in (5, 10)]
    within = [one.kl if one is not None and one.behaviour_rate <= 0.2 else None for one in best]
    assert told == [within[0]] * 5 + [within[1]] * 10
    assert within[1] is not None
    told.clear()

    def never_within(trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
        found = [measure(parameters) for parameters in trials]
        return [one._replace(behaviour_rate=0.5 + (one.behaviour_rate or 0.0) / 2) for one in found]

    run(never_within, trials=15, sampler="gp", max_behaviour_rate=0.2)
    assert told == [None] * 15


def test_a_stopped_trial_is_told_to_the_sampler_and_cannot_be_the_best() -> None:
    def stopped(trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
        return [measure(parameters)._replace(is_bound=True) for parameters in trials]

    outcomes = run(stopped, trials=10)
    assert {outcome.reason for outcome in outcomes} == {STOPPED}
    assert best_trial(outcomes, 1.0) is None
    assert [o.parameters for o in outcomes] == [o.parameters for o in run(trials=10, racing=False)]


def test_the_starting_settings_come_first() -> None:
    assert len(STARTS) == 6
    asked = [o.sampled for o in run(batch=4, trials=9)]
    assert asked[:6] == STARTS
    assert not any(sampled in STARTS for sampled in asked[6:])


def test_gradients_may_be_disabled_around_the_search() -> None:
    with torch.no_grad():
        off = run(sampler="gp", trials=8, batch=4, random_trials=4)
    assert without_seconds(off) == without_seconds(run(sampler="gp", trials=8, batch=4, random_trials=4))


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_space_can_have_one_free_parameter_or_none(sampler: Sampler) -> None:
    pinned = SPACE.attention.model_copy(update=dict.fromkeys(type(SPACE.attention).model_fields, (1.0, 1.0)))
    space = Space(direction_scope=("global",), direction_index=(0.4, 0.9), spans=(), attention=pinned, mlp=pinned)
    few: dict[str, Any] = {"sampler": sampler, "trials": 8, "random_trials": 5, "batch": 4}
    assert len({o.parameters.direction_index for o in run(space=space, **few)}) >= 7
    none = space.model_copy(update={"direction_index": (0.5, 0.5)})
    assert {o.parameters.direction_index for o in run(space=none, **few)} == {4.0}
