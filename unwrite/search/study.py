"""The search itself: trials are asked for in batches, each batch a function of the seed and of all trials before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Trial, TrialParameters
from unwrite.schema.params import Optimize
from unwrite.search.samplers import ask, make_sampler, reseeded, tell
from unwrite.search.space import Sampled, one_shot_settings, parameters_of, search_space
from unwrite.search.trials import OVER_MAX_KL, Measured, TrialOutcome, trial_of

Evaluate = Callable[[Sequence[TrialParameters]], Sequence[Measured | UnwriteError]]


def run_study(
    evaluate: Evaluate, settings: Optimize, *, done: Sequence[TrialOutcome], layers: int, positions: int
) -> Iterator[list[TrialOutcome]]:
    """Yields each further batch as it ends, until there are `settings.trials` or, in the last batch, a few more.

    A batch is always asked for and measured whole, so that nothing depends on where an earlier budget ended.

    Args:
        evaluate: Measures some trials together; an UnwriteError in place of a result is that trial's failure.
        settings: The section `optimize`.
        done: The batches before, as they were yielded.
        layers: L.
        positions: How many prompt positions have directions.
    """
    outcomes = list(done)
    while len(outcomes) < settings.trials:
        asked = ask_batch(outcomes, settings, layers=layers, positions=positions)
        parameters = [parameters_of(sampled) for sampled in asked]
        start = time.perf_counter()
        results = evaluate(parameters)
        seconds = (time.perf_counter() - start) / len(asked)
        finished = [
            _outcome(number, *trial, seconds)
            for number, trial in enumerate(zip(asked, parameters, results, strict=True), len(outcomes))
        ]
        outcomes += finished
        yield finished


def ask_batch(outcomes: Sequence[TrialOutcome], settings: Optimize, *, layers: int, positions: int) -> list[Sampled]:
    """What the trials of the next batch sample: the arguments decide it alone, so a resumed search asks the same.

    The one-shot settings come first. A failed trial is left out: there is nothing to learn from it.
    """
    told = [
        (outcome.sampled, tell(settings.sampler, outcome.measured, settings.max_behaviour_rate))
        for outcome in outcomes
        if outcome.measured is not None
    ]
    sampler = make_sampler(
        settings.sampler, seed=reseeded(settings.seed, len(outcomes)), random_trials=settings.random_trials
    )
    return ask(
        sampler,
        told,
        search_space(settings.space, layers=layers, positions=positions),
        one_shot_settings(settings.space, layers=layers)[len(outcomes) :],
        settings.batch,
    )


def pareto_front(outcomes: Sequence[TrialOutcome]) -> list[Trial]:
    """The trials that no other beats: by rising behaviour rate, and so by falling divergence.

    Of trials equal in both objectives the first counts.
    """
    front: list[Trial] = []
    measured = [trial for outcome in outcomes if (trial := trial_of(outcome)) is not None]
    for trial in sorted(measured, key=lambda t: (t.behaviour_rate, t.kl, t.number)):
        if not front or trial.kl < front[-1].kl:
            front.append(trial)
    return front


def best_trial(outcomes: Sequence[TrialOutcome], max_behaviour_rate: float) -> Trial | None:
    """The lowest divergence at or under the rate; the lowest rate if none is; None if no trial was measured."""
    front = pareto_front(outcomes)
    within = [trial for trial in front if trial.behaviour_rate <= max_behaviour_rate]
    return within[-1] if within else next(iter(front), None)


def _outcome(
    number: int, sampled: Sampled, parameters: TrialParameters, result: Measured | UnwriteError, seconds: float
) -> TrialOutcome:
    if isinstance(result, UnwriteError):
        return TrialOutcome(number, sampled, parameters, None, str(result), seconds)
    reason = OVER_MAX_KL if result.behaviour_rate is None else ""
    return TrialOutcome(number, sampled, parameters, result, reason, seconds)
