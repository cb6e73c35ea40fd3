"""The differences between two sides: their directions, the parameters these were made with, and the recipes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from unwrite.core.geometry import cosines, difference_norms
from unwrite.history.side import Side
from unwrite.schema.artifacts import Artifact, DirectionRef, Edit, Recipe
from unwrite.schema.dotted_keys import flattened


class RevisionSource(Artifact):
    """One side: its name, the commit of a revision, and the shape [P, L+1, d] of its directions, if it has them."""

    name: str
    commit: str | None
    shape: list[int] | None


class DirectionRow(Artifact):
    """The directions at one position and residual index.

    Norms are ‖μ_target − μ_baseline‖; the ratio is b's to a's. The cosine is None where a side has no direction, the
    ratio where the means of a do not differ.
    """

    position: int
    residual_index: int
    cosine: float | None
    norm_a: float
    norm_b: float
    norm_ratio: float | None


class ValueChange(Artifact):
    """A value that differs, by dotted key. `only` names the side that has the key if the other does not."""

    name: str
    a: Any
    b: Any
    only: Literal["a", "b"] | None


class WriterChange(Artifact):
    """A writer that is edited differently; None for a side that does not edit it. `other` lists what else differs."""

    parameter: str
    strength_a: float | None
    strength_b: float | None
    direction_a: DirectionRef | None
    direction_b: DirectionRef | None
    other: list[str]


class RevisionComparison(Artifact):
    """Two sides compared. None stands for what could not be compared; `notes` say why.

    `identical`: directions, and everything else that could be compared, are the same. `same_directions`: the three
    tensors are equal. `all_parameters`: both sides' parameters are known in full, not only those stored with the
    tensors.
    """

    a: RevisionSource
    b: RevisionSource
    identical: bool
    same_directions: bool
    directions: list[DirectionRow] | None
    parameters: list[ValueChange] | None
    all_parameters: bool
    recipe: list[ValueChange] | None
    writers: list[WriterChange] | None
    writers_alike: int
    notes: list[str]


def compare(a: Side, b: Side) -> RevisionComparison:
    """Compare directions, parameters and recipes, as far as both sides have them.

    Args:
        a: the side to start from.
        b: the other side.
    """
    directions, same, notes = _compare_directions(a, b)
    parameters = recipe = writers = None
    alike = 0
    if a.parameters is not None and b.parameters is not None:
        parameters = list(_changes(*_known_to_both(a, b)))
    if a.recipe is not None and b.recipe is not None:
        recipe = list(_changes(_recipe_values(a.recipe), _recipe_values(b.recipe)))
        writers, alike = _writer_changes(a.recipe.edits, b.recipe.edits)
    return RevisionComparison(
        a=RevisionSource(name=a.name, commit=a.commit, shape=_shape(a)),
        b=RevisionSource(name=b.name, commit=b.commit, shape=_shape(b)),
        identical=same and not (parameters or recipe or writers),
        same_directions=same,
        directions=directions,
        parameters=parameters,
        all_parameters=a.whole and b.whole,
        recipe=recipe,
        writers=writers,
        writers_alike=alike,
        notes=[*a.notes, *b.notes, *notes],
    )


def _shape(side: Side) -> list[int] | None:
    return None if side.tensors is None else list(side.tensors["directions"].shape)


def _compare_directions(a: Side, b: Side) -> tuple[list[DirectionRow] | None, bool, list[str]]:
    """Return (rows, whether all three tensors are equal, notes); no rows if the tensors cannot be compared."""
    if a.tensors is None or b.tensors is None:
        return None, False, []  # the side's own notes say why
    if _shape(a) != _shape(b):
        note = (
            f"directions of shapes {_shape(a)} and {_shape(b)} (positions, residual indices, hidden size) cannot be "
            "compared: another model, or other positions"
        )
        return None, False, [note]
    same = all(torch.equal(tensor, b.tensors[name]) for name, tensor in a.tensors.items())
    return _direction_rows(a.tensors, b.tensors), same, []


def _direction_rows(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[DirectionRow]:
    cosine = cosines(a["directions"], b["directions"])
    norm_a, norm_b = (difference_norms(side["target_mean"], side["baseline_mean"]) for side in (a, b))
    positions, indices = cosine.shape
    return [
        DirectionRow(
            position=position,
            residual_index=index,
            cosine=_finite(cosine[position, index]),
            norm_a=float(norm_a[position, index]),
            norm_b=float(norm_b[position, index]),
            norm_ratio=_finite(norm_b[position, index] / norm_a[position, index]),
        )
        for position in range(positions)
        for index in range(indices)
    ]


def _finite(figure: Tensor) -> float | None:
    return float(figure) if bool(figure.isfinite()) else None


def _recipe_values(recipe: Recipe) -> dict[str, Any]:
    return flattened(recipe.model_dump(mode="json", exclude={"edits"}))


def _known_to_both(a: Side, b: Side) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters of each side; if one side does not know them all, only of the sections that both know."""
    sides = [side.parameters or {} for side in (a, b)]
    if a.whole and b.whole:
        yield from sides
        return
    shared = set.intersection(*({_section(key) for key in parameters} for parameters in sides))
    for parameters in sides:
        yield {key: value for key, value in parameters.items() if _section(key) in shared}


def _section(key: str) -> str:
    return key.partition(".")[0]


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[ValueChange]:
    for name in dict.fromkeys([*a, *b]):
        if name not in b:
            yield ValueChange(name=name, a=a[name], b=None, only="a")
        elif name not in a:
            yield ValueChange(name=name, a=None, b=b[name], only="b")
        elif a[name] != b[name] or isinstance(a[name], bool) != isinstance(b[name], bool):
            yield ValueChange(name=name, a=a[name], b=b[name], only=None)


def _writer_changes(a: Iterable[Edit], b: Iterable[Edit]) -> tuple[list[WriterChange], int]:
    """Return the writers that are edited differently, and how many are edited alike."""
    edits_a, edits_b = ({edit.matrix.parameter: edit for edit in edits} for edits in (a, b))
    changes, alike = [], 0
    for parameter in dict.fromkeys([*edits_a, *edits_b]):
        one, other = edits_a.get(parameter), edits_b.get(parameter)
        if one == other:
            alike += 1
            continue
        changes.append(
            WriterChange(
                parameter=parameter,
                strength_a=one.strength if one else None,
                strength_b=other.strength if other else None,
                direction_a=one.direction if one else None,
                direction_b=other.direction if other else None,
                other=_other_fields(one, other) if one and other else [],
            )
        )
    return changes, alike


def _other_fields(a: Edit, b: Edit) -> list[str]:
    named = {"strength", "direction"}
    return [field for field in Edit.model_fields if field not in named and getattr(a, field) != getattr(b, field)]
