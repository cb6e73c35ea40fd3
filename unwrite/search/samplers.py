"""Ask Optuna's samplers for the next trials: a new sampler per batch, which learns from every trial measured so far."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.search.space import Sampled
from unwrite.search.trials import Measured
from unwrite.terms import Sampler

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler, GPSampler

_LEAST_KL = 1e-4  # nobody minds a smaller KL divergence, and its logarithm would dominate the sampler's view
_PENALTY = 2.0  # at least, in nats of log KL, for a trial that still shows the behaviour as often as any
_MARGIN = 3.0  # nats by which such a trial without any KL divergence looks worse than the best one within the rate

# Optuna's Gaussian process spends its time climbing the acquisition function. With these settings it takes a fifth of
# that time, and on three seeds of the demo it found equally good trials. GPSampler has no arguments for them.
_GP_OVERRIDES = {"_n_local_search": 4, "_n_preliminary_samples": 512, "_n_qmc_samples_qei": 32, "_tol": 1e-2}


class Observation(NamedTuple):
    """A trial as a sampler sees it: values to minimize, and constraints that must not exceed 0 (or None)."""

    values: list[float]
    constraints: dict[str, float] | None


def observe(
    sampler: Sampler,
    measured: Measured,
    max_behaviour_rate: float,
    highest_rate: float = 1.0,
    best_kl: float | None = None,
) -> Observation:
    """Return a measured trial in the terms of a sampler.

    `tpe` minimizes both objectives as they are. The others minimize the logarithm of the KL divergence, which spans
    decades, under the constraint that the rate is at most `max_behaviour_rate`. A trial above `max_kl` has no rate. For
    `tpe` and `tpe_constrained` it counts as always showing the behaviour, since they rank by the constraint first; for
    `gp`, which models the constraint separately, only its KL divergence counts against it.

    An edit that does nothing has a KL divergence of 0, so the logarithm alone would draw `gp` to ever weaker edits, and
    its model of the rate learns too late that they fail. So trials above `max_behaviour_rate` are penalized in
    proportion, as much as it takes for an edit that does nothing to look worse than the best trial within the rate.
    Those within it are not, and the best trial stays the same.

    Args:
        sampler: name of the sampler.
        measured: measurements of the trial.
        max_behaviour_rate: highest acceptable behaviour rate.
        highest_rate: the highest rate of any trial.
        best_kl: the lowest KL divergence of any trial within `max_behaviour_rate`; None if there is none.
    """
    rate = measured.behaviour_rate
    if sampler == "tpe":
        return Observation([1.0 if rate is None else rate, measured.kl], None)
    if rate is None:
        rate = 0.0 if sampler == "gp" else 1.0
    excess = rate - max_behaviour_rate
    value = math.log(max(measured.kl, _LEAST_KL))
    if sampler == "gp" and excess > 0:
        value += _penalty(best_kl) * excess / (highest_rate - max_behaviour_rate)
    return Observation([value], {"behaviour rate": excess})


def _penalty(best_kl: float | None) -> float:
    """Return the nats of log KL that count against a trial that shows the behaviour as often as any."""
    below_best = 0.0 if best_kl is None else math.log(max(best_kl, _LEAST_KL) / _LEAST_KL)
    return max(_PENALTY, below_best + _MARGIN)


def make_sampler(sampler: Sampler, *, seed: int, random_trials: int) -> BaseSampler:
    """Return a sampler that knows only its seed; the rest it learns from the trials of its study.

    Args:
        sampler: `gp` for constrained expected improvement under Gaussian processes (Gardner et al. 2014); otherwise the
            multivariate tree-structured Parzen estimator, which assumes that running trials are bad, so that the trials
            of a batch differ.
        seed: seed of everything that it samples.
        random_trials: the number of observed trials before which it samples at random.

    Raises:
        UnwriteError: this version of Optuna lacks a setting that the Gaussian process needs.
    """
    import optuna

    if sampler == "gp":
        process = optuna.samplers.GPSampler(seed=seed, n_startup_trials=random_trials, warn_independent_sampling=False)
        _apply_gp_overrides(process)
        return process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=random_trials
        )


def _apply_gp_overrides(process: GPSampler) -> None:
    attributes = vars(process)
    missing = sorted(_GP_OVERRIDES.keys() - attributes.keys())
    if missing:
        raise UnwriteError(
            f"Optuna {version('optuna')} has no GPSampler.{missing[0]}, which the search sets. "
            "Install the version in requirements.lock, or set optimize.sampler to tpe_constrained."
        )
    attributes.update(_GP_OVERRIDES)


def batch_seed(seed: int, ended: int) -> int:
    """Return the seed for the batch after `ended` trials, so that it does not depend on earlier samplers."""
    from numpy.random import SeedSequence

    return int(SeedSequence((seed, ended)).generate_state(1)[0])


def ask(
    sampler: BaseSampler,
    observed: Sequence[tuple[Sampled, Observation]],
    distributions: Mapping[str, BaseDistribution],
    first: Sequence[Sampled],
    count: int,
) -> list[Sampled]:
    """Return the sampled parameters of the next `count` trials, in a study of the observed ones.

    Measuring a trial again would teach nothing, so one that was measured or asked for already is replaced by a random
    one: a Gaussian process, which assumes noisy measurements, sometimes repeats the best trial.

    Args:
        sampler: a sampler made for this call; one that has asked before remembers more than its study.
        observed: every measured trial.
        distributions: the distribution of each parameter, by name.
        first: settings that come before anything sampled.
        count: the number of trials to ask for before any of them is measured.
    """
    import optuna
    import torch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    objectives = len(observed[0][1].values) if observed else 1
    study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
    for sampled, (values, constraints) in observed:
        study.add_trial(
            optuna.create_trial(
                values=values,
                constraints=constraints,
                params={name: sampled[name] for name in distributions},
                distributions=dict(distributions),
            )
        )
    for settings in first:
        study.enqueue_trial(dict(settings))
    known: list[Sampled] = [{name: sampled[name] for name in distributions} for sampled, _ in observed]
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=len(observed)))
    with torch.enable_grad():  # a Gaussian process is fitted with gradients
        for _ in range(count):
            trial = study.ask(dict(distributions))
            if trial.params in known:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(random.ask(dict(distributions)).params)
                trial = study.ask(dict(distributions))
            known.append(trial.params)
    return known[len(observed) :]
