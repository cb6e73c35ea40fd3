"""What gates find in an evaluation: the value of a figure, and whether it keeps its bound."""

from __future__ import annotations

from collections.abc import Iterable

from unwrite.errors import UnwriteError
from unwrite.schema.evaluation import Evaluation, Gate, Interval, Share
from unwrite.schema.gates import DIVERGENCES, parse_gate


def evaluated_gates(evaluation: Evaluation, gates: Iterable[str]) -> list[Gate]:
    """Return each gate with the value of its figure and whether that keeps the bound.

    Args:
        evaluation: all figures.
        gates: as in `parse_gate`.

    Raises:
        UnwriteError: the evaluation lacks a figure.
        ValueError: as in `parse_gate`.
    """
    found = []
    for text in gates:
        bound = parse_gate(text)
        value = figure_value(evaluation, bound.figure)
        if value is None:
            raise UnwriteError(
                f"evaluate.gates: {bound.figure} must have a value, but it was not measured (no references, or only "
                "one prompt). Remove that gate."
            )
        found.append(Gate(figure=bound.figure, bound=str(bound), value=value, passed=bound.holds(value)))
    return found


def figure_value(evaluation: Evaluation, figure: str) -> float | None:
    """Return a figure of an evaluation, or None if it was not measured.

    Args:
        evaluation: all figures.
        figure: its path, as in `gate_figures`.
    """
    name, *rest = figure.split(".")
    if name in DIVERGENCES:
        interval: Interval | None = getattr(evaluation, f"{name}_interval")
        return _part(interval, rest[0]) if rest else getattr(evaluation, name)
    prompts, field, *end = rest
    scores = getattr(evaluation, name).by_set().get(prompts)
    value: Share | float | None = getattr(scores, field, None)
    return _part(value, end[0] if end else "value") if isinstance(value, Share) else value


def gate_text(gate: Gate) -> str:
    """Return a gate and what it found in one line: "kl_response must be <= 0.2, got 0.31"."""
    return f"{gate.figure} must be {gate.bound}, got {gate.value:.4g}"


def _part(value: Share | Interval | None, name: str) -> float | None:
    return None if value is None else float(getattr(value, name))
