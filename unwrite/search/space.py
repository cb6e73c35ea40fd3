"""What one trial samples, between the bounds of params.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unwrite.artifacts import Kernel, TrialParameters
from unwrite.params import KernelSpace, Space

if TYPE_CHECKING:
    from optuna import Trial


def sample_parameters(trial: Trial, space: Space, *, layers: int, positions: int) -> TrialParameters:
    """Samples one recipe's parameters.

    Every parameter is asked for in every trial, whether or not the sampled scope uses it, so that the sampler sees one
    space and not several.

    Args:
        trial: Optuna's trial.
        space: Bounds; fractions are of L − 1.
        layers: L.
        positions: How many prompt positions have directions.
    """
    last = layers - 1
    low, high = space.direction_index
    return TrialParameters(
        direction_scope=trial.suggest_categorical("direction_scope", list(space.direction_scope)),
        direction_index=trial.suggest_float("direction_index", low * last, high * last),
        position=trial.suggest_categorical("position", list(range(positions))) if positions > 1 else 0,
        attention=_sample_kernel(trial, "attention", space.attention, last),
        mlp=_sample_kernel(trial, "mlp", space.mlp, last),
    )


def _sample_kernel(trial: Trial, component: str, space: KernelSpace, last: int) -> Kernel:
    def between(name: str, low: float, high: float) -> float:
        return trial.suggest_float(f"{component}.{name}", low, high)

    max_weight = max(0.0, between("max_weight", *space.max_weight))
    position_low, position_high = space.max_weight_position
    distance_low, distance_high = space.min_weight_distance
    # A kernel narrower than one layer could miss them all.
    nearest = max(1.0, distance_low * last)
    return Kernel(
        max_weight=max_weight,
        max_weight_position=between("max_weight_position", position_low * last, position_high * last),
        min_weight=max_weight * between("min_weight", *space.min_weight),
        min_weight_distance=between("min_weight_distance", nearest, max(nearest, distance_high * last)),
    )
