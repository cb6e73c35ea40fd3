"""Prove a layer's branches: the stream is their sum, and nothing is written along v once they are edited."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from torch import Tensor, nn

from unwrite.models.captured_layers import CalledLayer
from unwrite.models.discovery.bare_biases import is_bare, written_by_bare_biases
from unwrite.models.discovery.branches import Branch, Examination, search_branches
from unwrite.models.discovery.probes import EXACT, RecordedLayer, UnprovableError, multipliers_into, projected, run_to
from unwrite.models.discovery.sums import COMPLETE, unexplained_at


def examine_layer(recorded: RecordedLayer, like: tuple[Branch, ...] | None) -> Examination:
    """Find and prove the branches of a layer.

    Args:
        recorded: the layer.
        like: the branches of an earlier layer of the same kind, or None: tried first, since proving is quick.
    """
    if like is not None:
        try:
            return Examination(like, [], prove_branches(recorded, like))
        except UnprovableError:
            pass  # not of the same kind after all
    found = search_branches(recorded)
    if found.reasons:
        return found
    try:
        return found._replace(unexplained=prove_branches(recorded, found.branches))
    except UnprovableError as error:
        return found._replace(branches=(), reasons=[str(error)])


def prove_branches(recorded: RecordedLayer, branches: Sequence[Branch]) -> float:
    """Prove a layer's branches, and return the share of its output that they leave unexplained.

    Raises:
        UnprovableError: that share is too large, or something is still written along v once all are edited.
    """
    layer, v = recorded.layer, recorded.direction
    unexplained = _unexplained(recorded, branches, None)
    rows = layer.rows()
    clear = layer.with_rows(rows - (rows @ v)[:, None] * v)
    with ExitStack() as edits:
        for branch in branches:
            _edit(layer, branch, v, edits)
        after = run_to(clear, None)
    left = float((after @ v).abs().max() / after.norm(dim=-1).max())
    if left > EXACT:
        raise UnprovableError(f"{left:.1e} is still written along the direction once every writer is edited")
    return unexplained


def _unexplained(recorded: RecordedLayer, branches: Sequence[Branch], sink: str | None) -> float:
    """Measure the largest share, at a sink and the norms before it, that the branches leave unexplained.

    Raises:
        UnprovableError: that share is too large, or a branch does not add into the sink.
    """
    base = run_to(recorded.layer, sink)
    multipliers = {}
    for branch in branches:
        if branch.module not in recorded.calls:
            raise UnprovableError(f"{branch.module} does not run exactly once")
        m = multipliers_into(recorded.layer, branch.module, sink, base, recorded.direction)
        if m is None:
            raise UnprovableError(f"{branch.module} does not add to the stream")
        multipliers[branch.module] = m
    names = list(multipliers)
    bare = {
        weight.bias: multipliers[branch.module]
        for branch in branches
        for weight in branch.weights
        if weight.bias is not None and is_bare(weight.bias, branch.module)
    }
    left = unexplained_at(recorded, sink, names, multipliers, also=written_by_bare_biases(recorded, bare))
    if left > COMPLETE:
        raise UnprovableError(f"{left:.1%} of the output is not explained by {', '.join(names) or 'any module'}")
    inner = [_unexplained(recorded, branch.inner, branch.module) for branch in branches if branch.norm is not None]
    return max([left, *inner])


def _edit(layer: CalledLayer, branch: Branch, v: Tensor, edits: ExitStack) -> None:
    """Edit every weight of a branch with strength 1, compensating for the norms after it, until `edits` closes."""
    parameter = layer.module.get_parameter
    if branch.norm is not None:
        norm = branch.norm
        before = (norm.offset + (0.0 if norm.parameter is None else parameter(norm.parameter))) * v
        if norm.centered:
            before = before - before.mean()
        for inner in branch.inner:
            _edit(layer, inner, nn.functional.normalize(before, dim=0), edits)
        if norm.bias is not None:
            edits.enter_context(projected(parameter(norm.bias), 0, v))
    for weight in branch.weights:
        edits.enter_context(projected(parameter(weight.parameter), weight.axis, v))
        if weight.bias is not None:
            edits.enter_context(projected(parameter(weight.bias), weight.bias_axis, v))
