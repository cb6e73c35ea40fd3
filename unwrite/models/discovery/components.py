"""Distinguish attention from MLP: does what a writer writes depend on earlier positions?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from unwrite.models.captured_layers import CalledLayer
from unwrite.models.discovery.branches import Leaf
from unwrite.models.discovery.probes import TOLERANCE, RecordedLayer, first_tensor, outputs_fixed
from unwrite.terms import Component


def find_components(
    recorded: RecordedLayer, elsewhere: CalledLayer, found: Sequence[Leaf], *, complete: bool
) -> list[Component]:
    """Return the component of each leaf, with the output of everything else that writes fixed.

    Args:
        recorded: the layer.
        elsewhere: the layer in a run with other earlier tokens.
        found: the leaves of the layer.
        complete: whether the leaves are all that writes in the layer.
    """
    # Where something else writes too, it is in one of the parts that the layer is made of.
    parts = [] if complete else [name for name in recorded.calls if "." not in name and _has_matrices(recorded, name)]
    components = []
    for leaf in found:
        module = leaf.branch.module
        others = [other.branch.module for other in found if other.branch != leaf.branch]
        others += [part for part in parts if not f"{module}.".startswith(f"{part}.")]
        components.append(_component(recorded, module, others, elsewhere))
    return components


def _component(recorded: RecordedLayer, name: str, others: Sequence[str], elsewhere: CalledLayer) -> Component:
    """Return `attention` if a module's output at the last position depends on earlier positions, else `mlp`.

    Args:
        recorded: the layer.
        name: the module.
        others: every other module that writes; its output is fixed, so earlier positions act through the module alone.
        elsewhere: the layer in a run with other earlier tokens.
    """
    stream = elsewhere.stream().clone()
    stream[:, -1] = recorded.layer.stream()[:, -1]
    seen: list[Tensor] = []

    def record(_module: nn.Module, _args: Any, output: Any) -> None:
        seen.append(first_tensor(output).clone())

    with outputs_fixed(recorded, others), recorded.module(name).register_forward_hook(record):
        elsewhere.with_stream(stream).run()
    batch, tokens = stream.shape[:2]
    output = recorded.calls[name].output.reshape(batch, tokens, -1)[:, -1]
    change = (seen[0].reshape(batch, tokens, -1)[:, -1] - output).norm() / output.norm()
    return "attention" if change > TOLERANCE else "mlp"


def _has_matrices(recorded: RecordedLayer, name: str) -> bool:
    return any(parameter.dim() > 1 for parameter in recorded.module(name).parameters())
