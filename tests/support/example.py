"""A small search whose objectives are formulas; some of its trials fail, and some are above `max_kl`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import TrialParameters
from unwrite.schema.params import KernelSpace, Optimize, Space, load_params
from unwrite.search.trials import Measured

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef"
KERNEL = KernelSpace(
    max_weight=(-0.25, 1.5), max_weight_position=(0.0, 1.0), min_weight=(0.0, 1.0), min_weight_distance=(0.0, 0.6)
)
SPACE = Space(
    direction_scope=("global", "per_layer"), direction_index=(0.4, 0.9), spans=(), attention=KERNEL, mlp=KERNEL
)


def settings(**changes: Any) -> Optimize:
    """Return a section `optimize`: 20 trials in batches of 5, 6 of them before the sampler learns."""
    small = {"trials": 20, "random_trials": 6, "batch": 5, "seed": 0, "sampler": "tpe", "space": SPACE}
    return load_params(ROOT / "params.yaml").optimize.model_copy(update=small | changes)


def measure(parameters: TrialParameters) -> Measured:
    """Return figures: a stronger edit lowers the rate, in steps of a hundredth, and raises the KL divergence."""
    strength = parameters.attention.max_weight + parameters.mlp.max_weight
    rate = round(max(0.0, 1 - strength / 2), 2)
    return Measured(rate, strength * parameters.direction_index / 10)


def evaluate(trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
    """Evaluate every formula; weak attention fails, and a KL divergence above one nat has no rate."""
    results: list[Measured | UnwriteError] = []
    for parameters in trials:
        measured = measure(parameters)
        if parameters.attention.max_weight < 0.1:
            results.append(UnwriteError("logits are NaN"))
        elif measured.kl > 1:
            results.append(measured._replace(behaviour_rate=None))
        else:
            results.append(measured)
    return results
