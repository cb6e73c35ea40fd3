"""Interventions on the residual stream of the base model, which show what a direction does and what it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor
from torch.linalg import vector_norm

from unwrite.core.causal import projected_out, push_length, random_unit_vector
from unwrite.core.directions import interpolate
from unwrite.models.patching import added_to_stream, mapped_stream
from unwrite.schema.artifacts import Edit
from unwrite.terms import Intervention, InterventionVector, SetName

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Source(NamedTuple):
    """A direction that a recipe uses.

    position: its place among the stored positions.
    residual_index: its residual index, between two where it is interpolated.
    strength: the sum of the strengths |λ| of the edits with it.
    """

    position: int
    residual_index: float
    strength: float

    @property
    def added_at(self) -> int:
        """The residual index where it is added: the nearest output of a layer."""
        return max(1, math.floor(self.residual_index + 0.5))


class Planned(NamedTuple):
    """One run of the model: the prompt set, what is done to the stream, and with which vector.

    seed: of a random vector.
    unit: the vector, [d], unit norm.
    length: how much of it is added.
    layer: the layer whose output it is added to.
    """

    prompts: SetName
    intervention: Intervention
    vector: InterventionVector | None = None
    seed: int | None = None
    unit: Tensor | None = None
    length: float | None = None
    layer: int | None = None


def sources_of(edits: Sequence[Edit], most: int) -> list[Source]:
    """Return the directions that the edits of a recipe use the most, by the sum of their strengths, in that order.

    With one direction for all layers this is that one. With one for each layer it is the one of the layer that is
    edited the most: of all of them, the behaviour depends on it the most.

    Args:
        edits: the edits of a recipe.
        most: how many directions to return at most.
    """
    strengths: dict[tuple[int, float], float] = {}
    for edit in edits:
        key = edit.direction.position, edit.direction.index
        strengths[key] = strengths.get(key, 0.0) + abs(edit.strength)
    sources = [Source(*key, strength) for key, strength in strengths.items()]
    return sorted(sources, key=lambda source: (-source.strength, source.position, source.residual_index))[:most]


def untouched() -> list[Planned]:
    """Return the runs of the model as it is, which every other run is compared with."""
    return [Planned("baseline", "none"), Planned("target", "none")]


def planned_runs(source: Source, tensors: Mapping[str, Tensor], *, controls: int, seed: int) -> list[Planned]:
    """Return the runs that test a direction v, as Arditi et al. 2024 do (section 2.4), and those of the controls.

    Sufficiency: α·v, with α = v·(μ_target − μ_baseline), is added on baseline prompts, at every token of prompt and
    response, to the stream at the direction's residual index alone. If v was orthogonalized, that is a part of the
    difference of the means; then the whole difference, which they add, is added in another run.
    Necessity: v is projected out on target prompts, at every token and every residual index.
    The controls do the same with random vectors of the same length.

    Args:
        source: which direction.
        tensors: the directions file.
        controls: number of random vectors.
        seed: of the first of them; the others follow.

    Raises:
        ValueError: the direction is zero.
    """
    v = interpolate(tensors["directions"][source.position], source.residual_index)
    if not bool(v.any()):
        raise ValueError(f"there is no direction at residual index {source.residual_index:g}")
    index = source.added_at
    target, baseline = (tensors[name][source.position, index].to(v) for name in ("target_mean", "baseline_mean"))
    alpha, whole = push_length(v, target, baseline), float(vector_norm(target - baseline))
    shifts: list[tuple[InterventionVector, Tensor, float]] = [("direction", v, alpha)]
    if whole > alpha * (1 + 1e-3):
        shifts.append(("difference", (target - baseline) / whole, whole))
    random = [(number, random_unit_vector(len(v), number)) for number in range(seed, seed + controls)]
    runs = []
    for vector, unit, length in shifts:
        runs.append(Planned("baseline", "add", vector, None, unit, length, index - 1))
        runs += [Planned("baseline", "add", "random", number, other, length, index - 1) for number, other in random]
    runs.append(Planned("target", "ablate", "direction", None, v))
    return runs + [Planned("target", "ablate", "random", number, other) for number, other in random]


def intervening(model: PreTrainedModel, run: Planned) -> AbstractContextManager[None]:
    """Return a context in which the model runs under an intervention.

    Raises:
        UnwriteError: the model has no decoder stack, or, during a pass, streams that cannot be split.
    """
    if run.unit is None:
        return nullcontext()
    if run.length is None or run.layer is None:
        return mapped_stream(model, partial(projected_out, direction=run.unit))
    return added_to_stream(model, run.unit, run.layer, run.length)
