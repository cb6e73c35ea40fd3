"""Layers as ranges, and the same reason for many layers as one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_OF_LAYER = re.compile(r"layer (\d+): (.*)", re.DOTALL)
_MEASURED = re.compile(r"\d+\.\d+%|\d\.\d+e[-+]\d+")  # a share, as the reasons of discovery state it


def grouped_reasons(reasons: Iterable[str]) -> list[str]:
    """Return reasons of single layers, `layer 3: …`, as one line for all layers with the same reason.

    Reasons that differ in a measured share are the same; the line states the smallest and the largest.

    Args:
        reasons: as discovery and artifacts/base.json list them; others than those of layers stay as they are.

    Example:
        >>> grouped_reasons(["layer 0: 1.5% is left", "layer 1: 1.2% is left", "layer 3: a norm"])
        ['layers 0–1: 1.2% to 1.5% is left', 'layer 3: a norm']
    """
    groups: dict[str, list[tuple[int | None, str]]] = {}
    for reason in reasons:
        match = _OF_LAYER.fullmatch(reason)
        layer, text = (int(match[1]), match[2]) if match else (None, reason)
        groups.setdefault(_MEASURED.sub("…", text) if match else reason, []).append((layer, text))
    return [_line(group) for group in groups.values()]


def _line(group: Sequence[tuple[int | None, str]]) -> str:
    layers = sorted({layer for layer, _ in group if layer is not None})
    first = group[0][1]
    if not layers:
        return first
    measured = zip(*(_MEASURED.findall(text) for _, text in group), strict=True)
    spans = iter([_span(sorted(set(values), key=_number)) for values in measured])
    text = _MEASURED.sub(lambda _: next(spans), first)
    return f"{'layer' if len(layers) == 1 else 'layers'} {ranges(layers)}: {text}"


def _span(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _number(measured: str) -> float:
    return float(measured.removesuffix("%"))


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text: 0–3, 5, 7–9."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)
