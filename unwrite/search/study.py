"""The search itself: asks for trials in batches of a fixed size and tells them in order, so that a seed fixes them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence

from unwrite.artifacts import Trial, TrialParameters
from unwrite.errors import UnwriteError
from unwrite.params import Space
from unwrite.search.space import sample_parameters
from unwrite.trials import Outcome, trial_of


def run_study(
    evaluate: Callable[[TrialParameters], tuple[float, float]],
    space: Space,
    *,
    trials: int,
    random_trials: int,
    batch: int,
    seed: int,
    layers: int,
    positions: int,
) -> Iterator[Outcome]:
    """Yields the outcome of each trial as it ends. Both objectives are minimized (TPE, multivariate).

    A trial that raises UnwriteError (say, for infinite logits) has failed with that reason; the search goes on.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=random_trials
        )
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    for first in range(0, trials, batch):
        asked = [study.ask() for _ in range(min(batch, trials - first))]
        sampled = [sample_parameters(trial, space, layers=layers, positions=positions) for trial in asked]
        for trial, parameters in zip(asked, sampled, strict=True):
            start = time.perf_counter()
            try:
                objectives = evaluate(parameters)
            except UnwriteError as error:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                yield Outcome(trial.number, parameters, None, str(error), time.perf_counter() - start)
            else:
                study.tell(trial, objectives)
                yield Outcome(trial.number, parameters, objectives, "", time.perf_counter() - start)


def pareto_front(outcomes: Sequence[Outcome]) -> list[Trial]:
    """The trials that no other beats: by rising behaviour rate, and so by falling divergence.

    Of trials equal in both objectives the first counts.
    """
    front: list[Trial] = []
    measured = [trial_of(outcome) for outcome in outcomes if outcome.objectives is not None]
    for trial in sorted(measured, key=lambda t: (t.behaviour_rate, t.divergence, t.number)):
        if not front or trial.divergence < front[-1].divergence:
            front.append(trial)
    return front
