"""The geometry as a table of 120 columns: a row for each residual index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from tabulate import tabulate

from unwrite.errors import UnwriteError
from unwrite.report.curves import GeometryRow

Center = Literal["mean", "median"]

_HEADERS = (
    *("index", "‖t‖", "‖b‖", "‖t−b‖", "‖v‖", "t·b", "t·v", "b·v", "v·prev"),
    *("silh.", "d", "AUC", "train", "clamp %", "max", "after"),
)
_NOTES = """\
t, b: {center} of the target and of the baseline residuals · v: direction, its norm before normalizing
t·b … v·prev: cosines; prev is the direction one index before · silh.: silhouette coefficient, d: Cohen's d, AUC: on
validation prompts · train: AUC on training prompts
clamp %: share of components that winsorizing clamped · max, after: largest absolute component before and after it
"""


def at_position(rows: Sequence[GeometryRow], position: int | None) -> list[GeometryRow]:
    """Return the rows of one position, or all for None.

    Raises:
        UnwriteError: there is no such position.
    """
    known = sorted({row.position for row in rows})
    if position is not None and position not in known:
        raise UnwriteError(
            f"--position must be one of {', '.join(map(str, known))}, got {position}. It counts residuals.positions."
        )
    return [row for row in rows if position in (None, row.position)]


def geometry_table(rows: Sequence[GeometryRow], center: Center) -> str:
    """Return one table per position, and below what the columns are.

    Args:
        rows: the figures of some residual indices; what is unknown is shown as "–".
        center: which center of the residuals is shown.
    """
    positions = sorted({row.position for row in rows})
    lines = []
    for position in positions:
        lines += [f"Position {position} of residuals.positions"] if len(positions) > 1 else []
        cells = [_cells(row, center) for row in rows if row.position == position]
        lines += [tabulate([_HEADERS, *cells], tablefmt="plain", disable_numparse=True, stralign="right"), ""]
    names = {"mean": "arithmetic mean", "median": "geometric median"}
    return "\n".join([*lines, _NOTES.format(center=names[center]).rstrip()])


def _cells(row: GeometryRow, center: Center) -> list[str]:
    figures = row.figures
    norms = [figures[f"{center}_{name}_norm"] for name in ("target", "baseline", "difference")]
    pairs = ("target_baseline", "target_direction", "baseline_direction")
    cosines = [*(figures[f"{center}_cosine_{pair}"] for pair in pairs), figures["cosine_to_previous"]]
    return [
        str(row.residual_index),
        *map(_short, [*norms, figures["direction_norm"]]),
        *(_fixed(value, 2) for value in cosines),
        _fixed(figures["silhouette_validation"], 2),
        _short(figures["separation_validation"]),
        _fixed(figures["auc_validation"], 3),
        _fixed(figures["auc_train"], 3),
        _fixed(100 * figures["winsorized_share"], 1),
        *map(_short, (figures["largest_component"], figures["largest_winsorized"])),
    ]


def _fixed(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{round(value, digits) + 0:.{digits}f}"  # no −0.00


def _short(value: float) -> str:
    """Return a number in at most six characters, such as 12.3, 1.2e5, <0.01 or ∞."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1e4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if abs(value) < 1:
        return "<0.01" if 0 < value < 0.005 else _fixed(value, 2)
    return f"{value:.4g}" if abs(value) >= 1000 else f"{value:.3g}"
