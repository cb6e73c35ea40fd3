"""The writers of a model as a table: similar layers share a row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from unwrite.schema.reasons import ranges

if TYPE_CHECKING:
    from unwrite.models.discovery.findings import Discovery, FoundNorm, FoundWriter

HEADERS = ("layers", "component", "parameter", "shape", "hidden axis", "matrices", "bias", "multiplier", "norms after")


def writers_table(discovery: Discovery, shapes: Mapping[str, Sequence[int]]) -> str:
    """Return every writer, and below the table how much of the layers' outputs they leave unexplained.

    Args:
        discovery: the writers of a model.
        shapes: the shape of each writer's parameter, by its name in the model.
    """
    similar: dict[tuple[str, ...], list[int]] = {}
    for writer in discovery.writers:
        similar.setdefault(_row(writer, shapes[writer.parameter]), []).extend((writer.layer, *writer.shared_layers))
    rows = [(ranges(layers), *row) for row, layers in sorted(similar.items(), key=lambda item: min(item[1]))]
    table = tabulate(rows, headers=HEADERS, disable_numparse=True)
    found = f"{discovery.architecture}: {discovery.layers} layers, {len(discovery.writers)} writers"
    if discovery.incomplete:
        return f"{table}\n{found}; incomplete."
    mean = f"; the residual is the mean of {discovery.streams} streams" if discovery.streams > 1 else ""
    batches = "; prompts are batched by equal length" if discovery.padding_sensitive else ""
    return f"{table}\n{found}; {discovery.unexplained:.1e} of a layer's output is left unexplained{mean}{batches}."


def _row(writer: FoundWriter, shape: Sequence[int]) -> tuple[str, ...]:
    return (
        writer.component,
        _numbered(writer.parameter, writer.layer),
        " × ".join(map(str, shape)),
        str(writer.axis),
        str(writer.num_matrices),
        "no" if writer.bias is None else "yes",
        "varies" if writer.multiplier is None else f"{writer.multiplier:.4g}",
        ", ".join(map(_norm, writer.norms)) or "none",
    )


def _norm(norm: FoundNorm) -> str:
    """Return the last part of a norm's name, and whether it subtracts the mean or has a bias that is edited."""
    facts = [fact for fact, holds in (("centered", norm.centered), ("bias", norm.bias is not None)) if holds]
    return norm.module.rpartition(".")[2] + (f" ({', '.join(facts)})" if facts else "")


def _numbered(parameter: str, layer: int) -> str:
    """Replace the layer's number in a name by `*`."""
    return re.sub(rf"(?<![^.]){layer}(?![^.])", "*", parameter, count=1)
