"""What differs between two sets of directions, the parameters they were made with and the recipes made from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from tabulate import tabulate
from torch import Tensor

from unwrite.core.alignment import cosines, difference_norms
from unwrite.schema.artifacts import Artifact, DirectionRef, Edit, Recipe

ABSENT = "–"
_NAME, _VALUE = 46, 25  # characters before a name or a value is wrapped: one and two of them fit in 100 columns


class Side(NamedTuple):
    """One of the two things that are compared.

    Attributes:
        name: What a person calls it: a revision as it was given, "the workspace", a path.
        commit: Of a revision.
        tensors: `directions`, `target_mean` and `baseline_mean`, [P, L+1, d] each.
        parameters: By dotted key, without those that can't change a result; None if they aren't known.
        whole: Whether all parameters are known, not only those stored beside the tensors.
        recipe: None if there is none.
        notes: What could not be read, and why.
    """

    name: str
    commit: str | None
    tensors: Mapping[str, Tensor]
    parameters: Mapping[str, Any] | None
    whole: bool
    recipe: Recipe | None
    notes: Sequence[str] = ()


class RevisionSource(Artifact):
    """What was compared: its name, the commit of a revision, and the shape [P, L+1, d] of its directions."""

    name: str
    commit: str | None
    shape: list[int]


class DirectionRow(Artifact):
    """The directions at one position and residual index.

    Norms are ‖μ_target − μ_baseline‖, the ratio is b's to a's. The cosine is None where a side has no direction, the
    ratio where the means of a don't differ.
    """

    position: int
    residual_index: int
    cosine: float | None
    norm_a: float
    norm_b: float
    norm_ratio: float | None


class ValueChange(Artifact):
    """A value that differs, by dotted key. `only` names the side that has the key if the other has not."""

    name: str
    a: Any
    b: Any
    only: Literal["a", "b"] | None


class WriterChange(Artifact):
    """A writer that is edited differently; a side that leaves it alone has None. `other` names what else differs."""

    parameter: str
    weight_a: float | None
    weight_b: float | None
    direction_a: DirectionRef | None
    direction_b: DirectionRef | None
    other: list[str]


class RevisionComparison(Artifact):
    """Two sides compared. None stands for what could not be: `notes` say why.

    `identical`: nothing of what could be compared differs. `same_directions`: the three tensors are equal.
    `all_parameters`: those of both sides are known, not only those stored with the tensors.
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
    """Compares directions, parameters and recipes, as far as both sides have them.

    Args:
        a: The side to start from.
        b: The other.
    """
    shape_a, shape_b = (list(side.tensors["directions"].shape) for side in (a, b))
    notes = [*a.notes, *b.notes]
    directions = same = None
    if shape_a == shape_b:
        directions = _direction_rows(a.tensors, b.tensors)
        same = all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
    else:
        notes.append(
            f"directions of shape {shape_a} and {shape_b} (positions, residual indices, hidden size) can't be compared:"
            " another model or other positions"
        )
    parameters = recipe = writers = None
    alike = 0
    if a.parameters is not None and b.parameters is not None:
        parameters = list(_changes(*_known_to_both(a, b)))
    if a.recipe is not None and b.recipe is not None:
        recipe = list(_changes(_recipe_values(a.recipe), _recipe_values(b.recipe)))
        writers, alike = _writer_changes(a.recipe.edits, b.recipe.edits)
    return RevisionComparison(
        a=RevisionSource(name=a.name, commit=a.commit, shape=shape_a),
        b=RevisionSource(name=b.name, commit=b.commit, shape=shape_b),
        identical=bool(same) and not (parameters or recipe or writers),
        same_directions=bool(same),
        directions=directions,
        parameters=parameters,
        all_parameters=a.whole and b.whole,
        recipe=recipe,
        writers=writers,
        writers_alike=alike,
        notes=notes,
    )


def flattened(mapping: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted key; lists and empty mappings are values."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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
    """The parameters of both sides; of a side that knows all, no more sections than the other knows."""
    sides = [side.parameters or {} for side in (a, b)]
    sections = set.intersection(*({key.partition(".")[0] for key in parameters} for parameters in sides))
    for parameters in sides:
        whole = a.whole and b.whole
        yield {key: value for key, value in parameters.items() if whole or key.partition(".")[0] in sections}


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[ValueChange]:
    for name in dict.fromkeys([*a, *b]):
        if name not in b:
            yield ValueChange(name=name, a=a[name], b=None, only="a")
        elif name not in a:
            yield ValueChange(name=name, a=None, b=b[name], only="b")
        elif a[name] != b[name] or isinstance(a[name], bool) != isinstance(b[name], bool):
            yield ValueChange(name=name, a=a[name], b=b[name], only=None)


def _writer_changes(a: Iterable[Edit], b: Iterable[Edit]) -> tuple[list[WriterChange], int]:
    """Writers that are edited differently, and how many are edited alike."""
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
                weight_a=one.strength if one else None,
                weight_b=other.strength if other else None,
                direction_a=one.direction if one else None,
                direction_b=other.direction if other else None,
                other=_other_fields(one, other) if one and other else [],
            )
        )
    return changes, alike


def _other_fields(a: Edit, b: Edit) -> list[str]:
    named = {"strength", "direction"}
    return [field for field in Edit.model_fields if field not in named and getattr(a, field) != getattr(b, field)]


def comparison_text(comparison: RevisionComparison) -> str:
    """The comparison for a terminal of 100 columns; one line if nothing differs.

    Args:
        comparison: Of two sides.
    """
    names = [_titled(source) for source in (comparison.a, comparison.b)]
    if comparison.identical:
        return _identical_text(comparison, names)
    parts = [
        f"a: {names[0]}\nb: {names[1]}",
        _directions_text(comparison),
        _changes_text(_parameters_named(comparison).capitalize(), "parameter", comparison.parameters),
        _recipe_text(comparison),
        "\n".join(f"note: {note}." for note in comparison.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _titled(source: RevisionSource) -> str:
    if source.commit is None or source.commit.startswith(source.name):
        return source.name if source.commit is None else source.commit[:7]
    return f"{source.name} ({source.commit[:7]})"


def _identical_text(comparison: RevisionComparison, names: Sequence[str]) -> str:
    parameters = _parameters_named(comparison)
    compared = {"directions": True, parameters: comparison.parameters, "recipe": comparison.recipe}
    same = ", ".join(name for name, value in compared.items() if value is not None)
    left = ", ".join(name for name, value in compared.items() if value is None)
    return f"identical: {names[0]} and {names[1]} ({same}{f'; not compared: {left}' if left else ''})"


def _parameters_named(comparison: RevisionComparison) -> str:
    known = comparison.all_parameters or comparison.parameters is None
    return "parameters" if known else "parameters stored with the tensors"


def _directions_text(comparison: RevisionComparison) -> str:
    rows = comparison.directions
    if rows is None:
        return ""
    if comparison.same_directions:
        return f"Directions: identical, {len(rows)} of them."
    several = len({row.position for row in rows}) > 1
    headers = ["position"] * several + ["residual index", "cosine", "‖Δμ‖ a", "‖Δμ‖ b", "b / a"]
    table = [
        [
            *([row.position] * several),
            row.residual_index,
            _cosine_text(row.cosine),
            f"{row.norm_a:.5g}",
            f"{row.norm_b:.5g}",
            ABSENT if row.norm_ratio is None else f"{row.norm_ratio:.5f}",
        ]
        for row in rows
    ]
    text = f"Directions\n{_table(table, headers, ['right'] * len(headers))}"
    text += f"\nΔμ: target mean − baseline mean. {ABSENT}: no direction, or nothing to divide by."
    known = [row for row in rows if row.cosine is not None]
    if known:
        lowest = min(known, key=lambda row: row.cosine or 0.0)
        place = f"position {lowest.position}, " * several + f"residual index {lowest.residual_index}"
        text += f"\nLowest cosine: {_cosine_text(lowest.cosine)} at {place}."
    return text


def _recipe_text(comparison: RevisionComparison) -> str:
    parts = [_changes_text("Recipe", "edit.json", comparison.recipe)]
    if comparison.writers:
        headers = ["writer", "λ a", "λ b", "direction a", "direction b"]
        other = any(change.other for change in comparison.writers)
        headers += ["also differs"] * other
        table = [
            [
                change.parameter,
                *_pair(change.weight_a, change.weight_b, change.weight_a is None, change.weight_b is None),
                _direction_text(change.direction_a),
                _direction_text(change.direction_b),
                *([", ".join(change.other)] * other),
            ]
            for change in comparison.writers
        ]
        widths = [_NAME - 12 if other else _NAME, None, None, 14, 14, 12][: len(headers)]
        align = ["left", "right", "right", "right", "right", "left"][: len(headers)]
        parts.append(f"{_table(table, headers, align, widths)}\nand {comparison.writers_alike} alike")
    elif comparison.writers is not None:
        parts.append(f"Writers: {comparison.writers_alike} edited alike.")
    return "\n\n".join(part for part in parts if part)


def _direction_text(direction: DirectionRef | None) -> str:
    if direction is None:
        return ABSENT
    text = f"{direction.index:.6g}"
    text += "" if direction.orthogonalize_to is None else f" ⊥ {direction.orthogonalize_to}"
    return text + (f", position {direction.position}" if direction.position else "")


def _changes_text(title: str, header: str, changes: Sequence[ValueChange] | None) -> str:
    if changes is None:
        return ""
    if not changes:
        return f"{title}: the same."
    table = []
    for change in changes:
        table.append([change.name, *_pair(change.a, change.b, change.only == "b", change.only == "a")])
    return f"{title}\n{_table(table, [header, 'a', 'b'], ['left'] * 3, [_NAME, _VALUE, _VALUE])}"


def _pair(a: Any, b: Any, no_a: bool, no_b: bool) -> tuple[str, str]:
    """Two values as text: floats to six digits, or to all of them where six don't tell them apart."""
    text = _json if a != b and _short(a) == _short(b) else _short
    return ABSENT if no_a else text(a), ABSENT if no_b else text(b)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _cosine_text(cosine: float | None) -> str:
    """Six digits; of directions so near that these would all be nines, the distance from 1."""
    if cosine is None:
        return ABSENT
    return f"1 − {1 - cosine:.0e}" if 1e-15 < 1 - cosine < 1e-6 else f"{cosine:.6f}"


def _table(
    rows: Sequence[Sequence[object]],
    headers: Sequence[str],
    align: Sequence[str],
    widths: Sequence[int | None] | None = None,
) -> str:
    return tabulate(rows, headers, "simple", colalign=align, disable_numparse=True, maxcolwidths=widths)
