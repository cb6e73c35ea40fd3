"""The search itself: trials are asked for in batches, each a function of the seed and of all trials before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import TrialParameters
from unwrite.schema.params import Optimize
from unwrite.search.front import best_trial
from unwrite.search.racing import ANY_TRIAL, Standard
from unwrite.search.samplers import ask, batch_seed, make_sampler, observe
from unwrite.search.space import Sampled, search_space, starting_settings, trial_parameters
from unwrite.search.trials import Measured, TrialOutcome

EvaluateTrials = Callable[[Sequence[TrialParameters], Standard], Sequence[Measured | UnwriteError]]


def run_study(
    evaluate: EvaluateTrials, settings: Optimize, *, done: Sequence[TrialOutcome], layers: int, positions: int
) -> Iterator[list[TrialOutcome]]:
    """Yield each further batch when it has ended, until there are `settings.trials` trials.

    Batches are always asked for and measured whole, so the last one can exceed that number: nothing depends on where an
    earlier budget ended.

    Args:
        evaluate: measures some trials together, each as far as it can still be chosen; a trial that fails gives an
            UnwriteError.
        settings: section `optimize` of params.yaml.
        done: the trials so far, as they were yielded.
        layers: L.
        positions: the number of prompt positions with directions.
    """
    outcomes = list(done)
    while len(outcomes) < settings.trials:
        asked = ask_batch(outcomes, settings, layers=layers, positions=positions)
        parameters = [trial_parameters(sampled) for sampled in asked]
        start = time.perf_counter()
        results = evaluate(parameters, _standard(outcomes, settings))
        seconds = (time.perf_counter() - start) / len(asked)
        batch = [
            _outcome(number, *trial, seconds)
            for number, trial in enumerate(zip(asked, parameters, results, strict=True), len(outcomes))
        ]
        outcomes += batch
        yield batch


def ask_batch(outcomes: Sequence[TrialOutcome], settings: Optimize, *, layers: int, positions: int) -> list[Sampled]:
    """Return the sampled parameters of the next batch; they depend only on the arguments, so a search can be resumed.

    The starting settings come first. Failed trials are left out: a sampler can learn nothing from them.

    Args:
        outcomes: every trial so far.
        settings: section `optimize` of params.yaml.
        layers: L.
        positions: the number of prompt positions with directions.
    """
    rates = (outcome.measured.behaviour_rate for outcome in outcomes if outcome.measured is not None)
    highest = max((rate for rate in rates if rate is not None), default=1.0)
    best = best_trial(outcomes, settings.max_behaviour_rate)
    best_kl = best.kl if best is not None and best.behaviour_rate <= settings.max_behaviour_rate else None
    observed = [
        (outcome.sampled, observe(settings.sampler, outcome.measured, settings.max_behaviour_rate, highest, best_kl))
        for outcome in outcomes
        if outcome.measured is not None
    ]
    sampler = make_sampler(
        settings.sampler, seed=batch_seed(settings.seed, len(outcomes)), random_trials=settings.random_trials
    )
    return ask(
        sampler,
        observed,
        search_space(settings.space, layers=layers, positions=positions),
        starting_settings(settings.space, layers=layers)[len(outcomes) :],
        settings.batch,
    )


def _outcome(
    number: int, sampled: Sampled, parameters: TrialParameters, result: Measured | UnwriteError, seconds: float
) -> TrialOutcome:
    if isinstance(result, UnwriteError):
        return TrialOutcome(number, sampled, parameters, None, str(result), seconds)
    return TrialOutcome(number, sampled, parameters, result, result.unfinished, seconds)


def _standard(outcomes: Sequence[TrialOutcome], settings: Optimize) -> Standard:
    """Return what the trials of the next batch must beat; it follows from those before, so a search can be resumed."""
    if not settings.racing or settings.sampler == "tpe":  # which learns from the whole front
        return ANY_TRIAL
    return Standard(best_trial(outcomes, settings.max_behaviour_rate), settings.max_behaviour_rate)
