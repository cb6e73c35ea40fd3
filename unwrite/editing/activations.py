"""Recipes on activations: what writers put out is edited while the model runs, wherever that is as good as weights.

y ← r ⊙ (y − a (bᵀy)), the input scaled by c, is the edit of *one* matrix (`core.edit`). Several whose outputs leave a
module as one sum, experts say, can only be edited so where the edit doesn't depend on the matrix: `none`. As no weight
changes, the rows of one batch may belong to different trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unwrite.core.edit import edit_bias, edit_output
from unwrite.editing.edit_cache import EditCache, factors_of_trials
from unwrite.editing.exact import applied_direction
from unwrite.editing.weights import edited_weights
from unwrite.errors import UnwriteError
from unwrite.models.patching import ModulePatch, is_matrix_product, patched_modules, patched_parameters
from unwrite.schema.artifacts import Edit, Writer
from unwrite.terms import NormPreservation

RowSelector = Callable[[Sequence[int]], None]
"""Says before a forward pass which trial each row of its batch belongs to."""


@contextmanager
def edited_activations(
    model: nn.Module, trials: Sequence[Sequence[Edit]], writers: Sequence[Writer], form: EditCache
) -> Iterator[RowSelector]:
    """While open, the model computes as if its weights were edited, each row of a batch by the trial it belongs to.

    No parameter changes, but for those that `why_weights_needed` names: these are exchanged, so that such a trial has
    to be the only one.

    Args:
        model: Whose modules the writers name.
        trials: The edits of each.
        writers: Every writer of the model, edited or not.
        form: What closed forms are made of, with the values of all parameters that edits and writers name.

    Yields:
        A function to call before each forward pass with the trial (0 … K − 1) of each row. One trial alone needs none.

    Raises:
        UnwriteError: As `edited_weights`; a trial of several needs weights exchanged; the model passes a module by,
            or puts out something else than a vector for each token of each row.
    """
    by_weights = [edit for edits in trials for edit in edits if _reason(model, edit, edits, writers, form) is not None]
    if by_weights and len(trials) > 1:
        raise UnwriteError(
            f"{by_weights[0].matrix.parameter} has to be edited on weights, which {len(trials)} trials can't share"
        )
    values = edited_weights(by_weights, form)
    exchanged = {edit.matrix.parameter for edit in by_weights}
    rows = _Rows(len(trials))
    with patched_parameters(model, values), patched_modules(model, _changes(trials, exchanged, writers, form, rows)):
        yield rows.select


def on_weights_only(
    model: nn.Module, edits: Sequence[Edit], writers: Sequence[Writer], norm_preservation: NormPreservation
) -> str | None:
    """Why some edit of a recipe has to be made on weights; None where activations will do for all."""
    reasons = (why_weights_needed(model, edit, edits, writers, norm_preservation) for edit in edits)
    return next((reason for reason in reasons if reason is not None), None)


def why_weights_needed(
    model: nn.Module,
    edit: Edit,
    edits: Sequence[Edit],
    writers: Sequence[Writer],
    norm_preservation: NormPreservation,
) -> str | None:
    """Why an edit has to be made on weights; None where activations will do.

    Args:
        model: Whose modules the writers name.
        edit: One of `edits`.
        edits: The recipe's.
        writers: Every writer of the model, edited or not.
        norm_preservation: What of each matrix's norms is kept.
    """
    edited = {one.matrix.parameter: one for one in edits}
    writer = next(writer for writer in writers if writer.matrix.parameter == edit.matrix.parameter)
    block = _block(writer, writers)
    inside = [other for other in writers if _is_within(other.module, block)]
    if any(other.shared_layers for other in inside):
        return f"other layers use {edit.matrix.parameter} too"
    if norm_preservation == "none" and all(
        _projects_alike(edit, edited.get(other.matrix.parameter), other) for other in inside
    ):
        return None
    if len(inside) > 1:
        return f"{block} puts out the sum of {len(inside)} writers, which are not all edited by the same projection"
    if not is_matrix_product(model.get_submodule(writer.module)):
        return (
            f"{writer.module} does more than multiply by {edit.matrix.parameter}, and not all it puts out is projected"
        )
    return None


def _block(writer: Writer, writers: Sequence[Writer]) -> str:
    """The outermost module of a writer that holds this one's: a hook there and another inside would edit twice."""
    return min((other.module for other in writers if _is_within(writer.module, other.module)), key=len)


def _is_within(module: str, other: str) -> bool:
    return f"{module}.".startswith(f"{other}.")


def _projects_alike(edit: Edit, other: Edit | None, writer: Writer) -> bool:
    """Whether the other edit takes the same out of all that its writer puts out, the bias included."""
    if other is None or (writer.bias is not None and other.bias is None):
        return False
    return (other.strength, other.direction, other.norms) == (edit.strength, edit.direction, edit.norms)


def _reason(
    model: nn.Module, edit: Edit, edits: Sequence[Edit], writers: Sequence[Writer], form: EditCache
) -> str | None:
    return why_weights_needed(model, edit, edits, writers, form.norm_preservation)


def _changes(
    trials: Sequence[Sequence[Edit]],
    exchanged: Set[str],
    writers: Sequence[Writer],
    form: EditCache,
    rows: _Rows,
) -> dict[str, ModulePatch]:
    """The change of each module that is as good as the edits of its weight and bias in every trial."""
    by_parameter = [{edit.matrix.parameter: edit for edit in edits} for edits in trials]
    changes: dict[str, ModulePatch] = {}
    for writer in writers:
        edits = [edits.get(writer.matrix.parameter) for edits in by_parameter]
        block = _block(writer, writers)
        if any(edits) and writer.matrix.parameter not in exchanged and block not in changes:
            changes[block] = _change(edits, writer, form, rows)
    return changes


def _change(edits: Sequence[Edit | None], writer: Writer, form: EditCache, rows: _Rows) -> ModulePatch:
    found = factors_of_trials(form, edits)
    r, a, b, c = (_PerRow(values, rows) for values in (found.r, found.a, found.b, found.c))

    def projected(y: Tensor) -> Tensor:
        return edit_output(y, found._replace(r=r.of(y), a=a.of(y), b=b.of(y)))

    def scaled(x: Tensor) -> Tensor:
        return (rows.split(x) * c.of(x)).reshape(x.shape)

    scale = scaled if form.norm_preservation == "columns" else None
    whole = form.norm_preservation == "none" and all(edit is None or edit.bias is not None for edit in edits)
    if writer.bias is None or whole:
        return ModulePatch(scale, lambda y: projected(rows.split(y)).reshape(y.shape))
    bias = form.parameters[writer.bias.parameter].to(torch.float64)
    # Several biases come only with several matrices, which `none` alone projects, and then as a whole.
    before = _PerRow(bias.expand(len(edits), -1), rows)
    after = _PerRow(torch.stack([_edited_bias(bias, edit, form) for edit in edits]), rows)

    def around_bias(y: Tensor) -> Tensor:
        split = rows.split(y)
        return (projected(split - before.of(y)) + after.of(y)).reshape(y.shape)

    return ModulePatch(scale, around_bias)


def _edited_bias(bias: Tensor, edit: Edit | None, form: EditCache) -> Tensor:
    if edit is None or edit.bias is None:
        return bias
    direction = applied_direction(edit, form.directions, form.baseline_means, form.parameters)
    return edit_bias(bias, direction, edit.strength)


class _Rows:
    """Which trial each row of the batch belongs to that is in the model."""

    def __init__(self, trials: int) -> None:
        self.trials = trials
        self.index = torch.zeros(0, dtype=torch.long)

    def select(self, trials: Sequence[int]) -> None:
        self.index = torch.tensor(trials, dtype=torch.long)

    def on(self, device: torch.device) -> Tensor:
        if self.index.device != device:
            self.index = self.index.to(device)  # once a pass, and not for every module
        return self.index

    def split(self, x: Tensor) -> Tensor:
        """What a module takes or puts out as [batch, tokens, n]; some modules have it as [batch · tokens, n]."""
        if self.trials == 1:
            return x
        count = len(self.index)
        if count == 0 or (x.shape[0] != count if x.ndim > 2 else x.shape[0] % count):
            raise UnwriteError(
                f"{list(x.shape)} came from a module in a batch of {count} rows, expected a vector for each token of "
                "each row: set runtime.backend to weights."
            )
        return x.reshape(count, -1, x.shape[-1])


class _PerRow:
    """Values [K, n], one vector a trial."""

    def __init__(self, values: Tensor, rows: _Rows) -> None:
        self.values, self.rows = values, rows

    def of(self, x: Tensor) -> Tensor:
        """Those of each row, [batch, 1, n], or [n] for one trial alone, in the dtype and place of x."""
        if self.values.dtype != x.dtype or self.values.device != x.device:
            self.values = self.values.to(x)  # once, and not for every token
        if self.rows.trials == 1:
            return self.values[0]
        return self.values[self.rows.on(x.device)].unsqueeze(1)
