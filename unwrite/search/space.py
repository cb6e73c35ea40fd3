"""The search space: the values that a trial samples within the bounds of params.yaml, and the parameters they give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from unwrite.core.kernel import kernel_weight
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Kernel, TrialParameters
from unwrite.schema.params import KernelSpace, Space
from unwrite.terms import COMPONENTS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Sampled = Mapping[str, float | int | str]

_DEPTHS = 5  # one-shot settings
_LATE_STRENGTH = 0.5


def check_spans(space: Space, *, layers: int) -> None:
    """Check that no span goes beyond the last layer.

    Raises:
        UnwriteError: a span names a layer that the model does not have.
    """
    last = layers - 1
    for layer in (layer for span in space.spans for layer in span):
        if layer > last:
            raise UnwriteError(f"layers in optimize.space.spans must be between 0 and {last}, got {layer}.")


def search_space(space: Space, *, layers: int, positions: int) -> dict[str, BaseDistribution]:
    """Return the distribution of each parameter, by name.

    Every trial samples all of them, whether or not the sampled scope uses them, so that the sampler sees a single
    space.

    Args:
        space: bounds; fractions are of L − 1.
        layers: L.
        positions: the number of prompt positions with directions.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    last = layers - 1
    low, high = space.direction_index
    distributions: dict[str, BaseDistribution] = {
        "direction_scope": CategoricalDistribution(list(space.direction_scope)),
        "direction_index": FloatDistribution(low * last, high * last),
        "position": CategoricalDistribution(list(range(positions))),
    }
    for component in COMPONENTS:
        bounds = _kernel_bounds(getattr(space, component), last)
        distributions |= {f"{component}.{name}": FloatDistribution(*pair) for name, pair in bounds.items()}
    return distributions


def trial_parameters(sampled: Sampled) -> TrialParameters:
    """Return the parameters of a trial from its sampled values.

    A kernel weight below 0 becomes 0, and the smaller weight is sampled as a share of the larger.

    Args:
        sampled: values by the names of `search_space`.
    """

    def kernel(component: str) -> Kernel:
        max_weight = max(0.0, float(sampled[f"{component}.max_weight"]))
        return Kernel(
            max_weight=max_weight,
            max_weight_position=sampled[f"{component}.max_weight_position"],
            min_weight=max_weight * float(sampled[f"{component}.min_weight"]),
            min_weight_distance=sampled[f"{component}.min_weight_distance"],
        )

    return TrialParameters(
        direction_scope=sampled["direction_scope"],
        direction_index=sampled["direction_index"],
        position=sampled["position"],
        attention=kernel("attention"),
        mlp=kernel("mlp"),
    )


def one_shot_settings(space: Space, *, layers: int) -> list[dict[str, float | int | str]]:
    """Return the settings that need no search: one layer's direction, λ = 1 in every layer (Arditi et al. 2024).

    They take the directions at a few depths within the bounds, at the first position, and project each out of attention
    and MLP. Bounds that exclude λ = 1 everywhere exclude all of them (`why_no_one_shots`).

    Args:
        space: bounds; fractions are of L − 1.
        layers: L.
    """
    if why_no_one_shots(space, layers=layers) is not None:
        return []
    flat: dict[str, float | int | str] = {"direction_scope": "global", "position": 0}
    for component in COMPONENTS:
        kernel = _flat_kernel(_kernel_bounds(getattr(space, component), layers - 1), layers)
        flat |= {f"{component}.{name}": value for name, value in kernel.items()}
    low, high = (bound * (layers - 1) for bound in space.direction_index)
    depths = dict.fromkeys(min(high, low + (high - low) * step / (_DEPTHS - 1)) for step in range(_DEPTHS))
    return [flat | {"direction_index": depth} for depth in depths]


def starting_settings(space: Space, *, layers: int) -> list[dict[str, float | int | str]]:
    """Return the settings that a search begins with: the one-shot settings, and a late edit at half strength.

    The late edit takes each layer's own direction, at half strength in the last layer, and fades towards the first. A
    behaviour is mostly written late, and strengths drawn at random are rarely small in both components at once.

    Args:
        space: bounds; fractions are of L − 1. What they exclude of the late edit is as near as they allow.
        layers: L.
    """
    scope = "per_layer" if "per_layer" in space.direction_scope else space.direction_scope[0]
    late: dict[str, float | int | str] = {
        "direction_scope": scope,
        "direction_index": space.direction_index[1] * (layers - 1),
        "position": 0,
    }
    for component in COMPONENTS:
        bounds = _kernel_bounds(getattr(space, component), layers - 1)
        low, high = bounds["max_weight"]
        late |= {
            f"{component}.max_weight": min(max(_LATE_STRENGTH, low), high),
            f"{component}.max_weight_position": bounds["max_weight_position"][1],
            f"{component}.min_weight": bounds["min_weight"][0],
            f"{component}.min_weight_distance": bounds["min_weight_distance"][1],
        }
    return [*one_shot_settings(space, layers=layers), late]


def why_no_one_shots(space: Space, *, layers: int) -> str | None:
    """Return the bound of params.yaml that excludes one-shot settings; None if none does.

    Args:
        space: bounds; fractions are of L − 1.
        layers: L.
    """
    if "global" not in space.direction_scope:
        return "optimize.space.direction_scope lacks global"
    for component in COMPONENTS:
        kernel_space = getattr(space, component)
        bounds = _kernel_bounds(kernel_space, layers - 1)
        kernel = _flat_kernel(bounds, layers)
        path = f"optimize.space.{component}"
        for name, value in kernel.items():
            if not bounds[name][0] <= value <= bounds[name][1]:
                return f"{path}.{name} {list(getattr(kernel_space, name))} excludes {value:g}"
        if any(kernel_weight(layer, **kernel) != 1 for layer in range(layers)):
            return f"{path}.min_weight_distance {list(kernel_space.min_weight_distance)} does not reach every layer"
    return None


def _kernel_bounds(space: KernelSpace, last: int) -> dict[str, tuple[float, float]]:
    """Return the bounds with positions and distances in layers, where params.yaml has fractions of L − 1."""
    position_low, position_high = space.max_weight_position
    distance_low, distance_high = space.min_weight_distance
    # A kernel narrower than one layer could miss them all.
    nearest = max(1.0, distance_low * last)
    return {
        "max_weight": space.max_weight,
        "max_weight_position": (position_low * last, position_high * last),
        "min_weight": space.min_weight,
        "min_weight_distance": (nearest, max(nearest, distance_high * last)),
    }


def _flat_kernel(bounds: Mapping[str, tuple[float, float]], layers: int) -> dict[str, float]:
    """Return the kernel that is 1 in as many layers as the bounds allow: it peaks as close to the middle as it can."""
    low, high = bounds["max_weight_position"]
    return {
        "max_weight": 1.0,
        "max_weight_position": min(max((layers - 1) / 2, low), high),
        "min_weight": 1.0,
        "min_weight_distance": bounds["min_weight_distance"][1],
    }
