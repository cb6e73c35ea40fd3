"""Who asks for the next trials: Optuna's samplers, made anew for every batch, and what they are told about a trial."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from unwrite.search.space import Sampled
from unwrite.search.trials import Measured
from unwrite.terms import Sampler

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

# Under this a divergence is rounding; its logarithm would be all that a sampler sees.
_LEAST = 1e-6

# Optuna's Gaussian process spends its time on climbing the acquisition function. With these it takes a fifth of it, and
# on three seeds of the demo found as good trials. They are attributes of the sampler that have no argument.
_CHEAPER = {"_n_local_search": 4, "_n_preliminary_samples": 512, "_n_qmc_samples_qei": 32, "_tol": 1e-2}


class Told(NamedTuple):
    """A trial as a sampler sees it: what to minimize, and what must not be above 0 (None: no constraint)."""

    values: list[float]
    constraints: dict[str, float] | None


def tell(sampler: Sampler, measured: Measured, max_behaviour_rate: float) -> Told:
    """A measured trial in the sampler's terms.

    `tpe` is told both objectives as they are. The others minimize the logarithm of the divergence, which spans decades,
    where the rate is at most `max_behaviour_rate`. A trial above `max_kl` has no rate. To `tpe` and `tpe_constrained`
    it shows the behaviour always, since they rank by the constraint before anything else; to `gp`, which learns the
    constraint by itself, nothing but its divergence speaks against it.
    """
    rate = measured.behaviour_rate
    if sampler == "tpe":
        return Told([1.0 if rate is None else rate, measured.kl], None)
    if rate is None:
        rate = 0.0 if sampler == "gp" else 1.0
    over = rate - max_behaviour_rate
    return Told([math.log(max(measured.kl, _LEAST))], {"behaviour rate": over})


def make_sampler(sampler: Sampler, *, seed: int, random_trials: int) -> BaseSampler:
    """A sampler that knows the seed and nothing else: the rest it learns from the trials of its study.

    Args:
        sampler: `gp`: constrained expected improvement under Gaussian processes (Gardner et al. 2014). Otherwise the
            tree-structured Parzen estimator, multivariate; with a running trial taken for a bad one, so that those of
            a batch differ.
        seed: Fixes what it asks.
        random_trials: It samples at random until it was told so many.
    """
    import optuna

    if sampler == "gp":
        process = optuna.samplers.GPSampler(seed=seed, n_startup_trials=random_trials, warn_independent_sampling=False)
        vars(process).update(_CHEAPER)
        return process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=random_trials
        )


def reseeded(seed: int, ended: int) -> int:
    """The seed for the batch after `ended` trials, so that what is asked then does not depend on who asked before."""
    from numpy.random import SeedSequence

    return int(SeedSequence((seed, ended)).generate_state(1)[0])


def ask(
    sampler: BaseSampler,
    told: Sequence[tuple[Sampled, Told]],
    distributions: Mapping[str, BaseDistribution],
    first: Sequence[Sampled],
    count: int,
) -> list[Sampled]:
    """What the next `count` trials sample, in a study of those that the sampler is told: none of them is running.

    Args:
        sampler: Made for this call: a sampler that has asked before remembers more than its study.
        told: Every trial that has ended.
        distributions: The space, by name.
        first: What some trials must be, before the sampler has its say.
        count: How many are asked for before any of them is told.
    """
    import optuna
    import torch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    objectives = len(told[0][1].values) if told else 1
    study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
    for sampled, (values, constraints) in told:
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
    with torch.enable_grad():  # a Gaussian process is fitted by gradients
        return [study.ask(dict(distributions)).params for _ in range(count)]
