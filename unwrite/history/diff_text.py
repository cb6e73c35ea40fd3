"""A comparison of two revisions as text, for a terminal of 100 columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from unwrite.history.diff import DirectionRow, RevisionComparison, RevisionSource, ValueChange, WriterChange
from unwrite.schema.artifacts import DirectionRef

ABSENT = "–"
_NAME, _VALUE = 46, 25  # characters before a name or a value is wrapped: one name and two values fit in 100 columns


def comparison_text(comparison: RevisionComparison) -> str:
    """Return the comparison as text; one line if nothing differs, and a line per note."""
    names = [_titled(source) for source in (comparison.a, comparison.b)]
    notes = [f"note: {note}." for note in comparison.notes]
    if comparison.identical:
        return "\n".join([_identical_text(comparison, names), *notes])
    parts = [
        f"a: {names[0]}\nb: {names[1]}",
        _directions_text(comparison),
        _changes_text(_parameters_title(comparison).capitalize(), "parameter", comparison.parameters),
        _recipe_text(comparison),
        "\n".join(notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _titled(source: RevisionSource) -> str:
    if source.commit is None:
        return source.name
    if source.commit.startswith(source.name):
        return source.commit[:7]
    return f"{source.name} ({source.commit[:7]})"


def _identical_text(comparison: RevisionComparison, names: Sequence[str]) -> str:
    compared = {
        "directions": True,
        _parameters_title(comparison): comparison.parameters is not None,
        "recipe": comparison.recipe is not None,
    }
    same = ", ".join(name for name, was_compared in compared.items() if was_compared)
    missing = ", ".join(name for name, was_compared in compared.items() if not was_compared)
    return f"identical: {names[0]} and {names[1]} ({same}{f'; not compared: {missing}' if missing else ''})"


def _parameters_title(comparison: RevisionComparison) -> str:
    if comparison.all_parameters or comparison.parameters is None:
        return "parameters"
    return "parameters stored with the tensors"


def _directions_text(comparison: RevisionComparison) -> str:
    rows = comparison.directions
    if rows is None:
        return ""
    if comparison.same_directions:
        return f"Directions: identical, {len(rows)} of them."
    several = len({row.position for row in rows}) > 1
    headers = [*(["position"] if several else []), "residual index", "cosine", "‖Δμ‖ a", "‖Δμ‖ b", "b / a"]
    table = _table([_direction_cells(row, several) for row in rows], headers, ["right"] * len(headers))
    legend = f"Δμ: target mean − baseline mean. {ABSENT}: no direction, or nothing to divide by."
    return "\n".join(["Directions", table, legend, *_lowest_cosine(rows, several)])


def _direction_cells(row: DirectionRow, several: bool) -> list[object]:
    return [
        *([row.position] if several else []),
        row.residual_index,
        _cosine_text(row.cosine),
        f"{row.norm_a:.5g}",
        f"{row.norm_b:.5g}",
        ABSENT if row.norm_ratio is None else f"{row.norm_ratio:.5f}",
    ]


def _lowest_cosine(rows: Sequence[DirectionRow], several: bool) -> list[str]:
    known = [(row.cosine, row) for row in rows if row.cosine is not None]
    if not known:
        return []
    cosine, row = min(known, key=lambda pair: pair[0])
    position = f"position {row.position}, " if several else ""
    return [f"Lowest cosine: {_cosine_text(cosine)} at {position}residual index {row.residual_index}."]


def _recipe_text(comparison: RevisionComparison) -> str:
    parts = [_changes_text("Recipe", "edit.json", comparison.recipe), _writers_text(comparison)]
    return "\n\n".join(part for part in parts if part)


def _writers_text(comparison: RevisionComparison) -> str:
    if comparison.writers is None:
        return ""
    if not comparison.writers:
        return f"Writers: {comparison.writers_alike} edited alike."
    other = any(change.other for change in comparison.writers)
    headers = ["writer", "λ a", "λ b", "direction a", "direction b"]
    widths: list[int | None] = [_NAME, None, None, 14, 14]
    align = ["left", "right", "right", "right", "right"]
    if other:
        headers, widths, align = [*headers, "also differs"], [_NAME - 12, *widths[1:], 12], [*align, "left"]
    rows = [_writer_cells(change, other) for change in comparison.writers]
    return f"{_table(rows, headers, align, widths)}\nand {comparison.writers_alike} alike"


def _writer_cells(change: WriterChange, other: bool) -> list[str]:
    return [
        change.parameter,
        *_pair(change.strength_a, change.strength_b, change.strength_a is None, change.strength_b is None),
        _direction_text(change.direction_a),
        _direction_text(change.direction_b),
        *([", ".join(change.other)] if other else []),
    ]


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
    rows = [[change.name, *_pair(change.a, change.b, change.only == "b", change.only == "a")] for change in changes]
    return f"{title}\n{_table(rows, [header, 'a', 'b'], ['left'] * 3, [_NAME, _VALUE, _VALUE])}"


def _pair(a: Any, b: Any, no_a: bool, no_b: bool) -> tuple[str, str]:
    """Return two values as text: floats to six digits, or to all digits if six do not tell them apart."""
    text = _json if a != b and _short(a) == _short(b) else _short
    return ABSENT if no_a else text(a), ABSENT if no_b else text(b)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _cosine_text(cosine: float | None) -> str:
    """Return six digits; for directions so close that these would all be nines, the distance from 1."""
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
