"""Tied parameters: one tensor under several names."""

from __future__ import annotations

from torch import nn


def names_of_parameters(model: nn.Module) -> dict[str, list[str]]:
    """Map each name of a parameter to all names it has: several if modules share it.

    The first name is that of the first such module in the model.
    """
    by_identity: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        by_identity.setdefault(id(parameter), []).append(name)
    return {name: names for names in by_identity.values() for name in names}
