"""Merge writers that layers share: each parameter is one writer, unless something else uses it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from unwrite.models.discovery.findings import FoundWriter
from unwrite.models.tied import names_of_parameters


class Merged(NamedTuple):
    """Writers with distinct parameters, and the reasons why others were left out."""

    writers: list[FoundWriter]
    reasons: list[str]


def merge_shared(model: nn.Module, writers: Sequence[FoundWriter]) -> Merged:
    """Keep each parameter once, at the first layer that uses it; leave out those that something else uses too.

    Layers may share a writer only as a whole: its weight, its bias and the norms after it.
    """
    names = names_of_parameters(model)
    uses_of: dict[str, list[FoundWriter]] = {}
    for writer in writers:
        uses_of.setdefault(names[writer.parameter][0], []).append(writer)
    merged, reasons = [], []
    for uses in uses_of.values():
        first = uses[0]
        conflict = _conflict(uses, names)
        if conflict is None:
            merged.append(first._replace(shared_layers=tuple(use.layer for use in uses[1:])))
        else:
            tied = " and ".join(conflict)
            reasons.append(f"layer {first.layer}: {tied} are one parameter: editing one would edit the other")
    return Merged(_norm_biases_once(merged), reasons)


def _norm_biases_once(writers: Sequence[FoundWriter]) -> list[FoundWriter]:
    """Leave the bias of a norm that follows several writers to the first of them: a recipe edits it once."""
    seen: set[str] = set()
    found = []
    for writer in writers:
        norms = tuple(norm._replace(bias=None) if norm.bias in seen else norm for norm in writer.norms)
        found.append(writer._replace(norms=norms))
        seen |= {norm.bias for norm in norms if norm.bias is not None}
    return found


def _conflict(uses: Sequence[FoundWriter], names: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
    """Return the names of a parameter that something else uses too, or that these writers use differently.

    Args:
        uses: the writers with the same parameter.
        names: every name of each parameter.
    """
    first = uses[0]
    edited = (first.parameter, first.bias, *(norm.bias for norm in first.norms))
    tensors = [names[name] for name in edited if name is not None]
    strays = [group for group in tensors if len(group) > len(uses)]
    if strays:
        return strays[0]

    def identity(name: str | None) -> str | None:
        return None if name is None else names[name][0]

    alike = {
        (use.axis, identity(use.bias), tuple((identity(norm.parameter), identity(norm.bias)) for norm in use.norms))
        for use in uses
    }
    layers = {use.layer for use in uses}
    return tensors[0] if len(alike) > 1 or len(layers) < len(uses) else None
