"""A recipe on activations: the outputs of writers are edited while the model runs, and no weight changes.

As the edit acts on each row of a batch separately, the rows of one batch may belong to different trials. Edits that
activations cannot express (`weights_needed`) are made on weights, so their trial has to be measured alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unwrite.core.edit import Factors
from unwrite.core.outputs import edit_bias, edit_output
from unwrite.editing.edit_cache import EditCache, factors_of_trials
from unwrite.editing.exact import applied_direction, naming_in_errors
from unwrite.editing.weights import edited_weights
from unwrite.editing.weights_needed import module_of_norm_bias, outermost_module, why_edit_needs_weights
from unwrite.errors import UnwriteError
from unwrite.models.patching import ModulePatch, patched_modules, patched_parameters
from unwrite.schema.artifacts import Edit, Writer, biases_of

RowSelector = Callable[[Sequence[int]], None]
"""A function to call before each forward pass, with the trial (0 … K − 1) of each row of the batch."""


@contextmanager
def edited_activations(
    model: nn.Module, trials: Sequence[Sequence[Edit]], writers: Sequence[Writer], cache: EditCache
) -> Iterator[RowSelector]:
    """Make the model compute as if its weights were edited, each row of a batch by the edits of its trial.

    Only edits that activations cannot express change parameters, and only if there is one trial.

    Args:
        model: the model that the writers belong to.
        trials: the edits of each trial.
        writers: every writer of the model, edited or not.
        cache: products with stored vectors, and the value of each parameter that edits and writers name.

    Yields:
        A function that selects the trial of each row before a forward pass. It need not be called for a single trial.

    Raises:
        UnwriteError: one of several trials has an edit that needs weights, the model does not call an edited module, a
            module does not output one vector per token of each row, or as in `edited_weights`.
    """
    on_weights = [edit for edits in trials for edit in edits if _needs_weights(model, edit, edits, writers, cache)]
    if on_weights and len(trials) > 1:
        raise UnwriteError(
            f"{on_weights[0].matrix.parameter} must be edited on weights, which {len(trials)} trials cannot share"
        )
    values = edited_weights(on_weights, cache)
    rows = _Rows(len(trials))
    patches = _module_patches(trials, {edit.matrix.parameter for edit in on_weights}, writers, cache, rows)
    with patched_parameters(model, values), patched_modules(model, patches):
        yield rows.select


def _needs_weights(
    model: nn.Module, edit: Edit, edits: Sequence[Edit], writers: Sequence[Writer], cache: EditCache
) -> bool:
    return why_edit_needs_weights(model, edit, edits, writers, cache.norm_preservation) is not None


def _module_patches(
    trials: Sequence[Sequence[Edit]],
    on_weights: Set[str],
    writers: Sequence[Writer],
    cache: EditCache,
    rows: _Rows,
) -> dict[str, ModulePatch]:
    """Return a patch per module, equivalent to the edits of its weight and bias in every trial."""
    edits_by_parameter = [{edit.matrix.parameter: edit for edit in edits} for edits in trials]
    patches: dict[str, ModulePatch] = {}
    for writer in writers:
        edits = [edit_of.get(writer.matrix.parameter) for edit_of in edits_by_parameter]
        if not any(edits) or writer.matrix.parameter in on_weights:
            continue
        module = outermost_module(writer, writers)
        if module not in patches:
            patches[module] = _module_patch(edits, writer, cache, rows)
        for norm in writer.norms:
            if norm.bias is not None:
                name = norm.bias.parameter
                patches[module_of_norm_bias(name)] = _norm_patch(edits, name, cache, rows)
    return patches


def _norm_patch(edits: Sequence[Edit | None], bias: str, cache: EditCache, rows: _Rows) -> ModulePatch:
    """Return the patch that adds to a norm's output what each trial adds to its bias."""
    original = cache.parameters[bias].to("cpu", torch.float64)
    edited = [_edited_vector(bias, original, edit, cache) for edit in edits]
    change = _PerRow(torch.stack(edited) - original, rows)

    def add(y: Tensor) -> Tensor:
        split = rows.split(y)
        return (split + change.of(split)).reshape(y.shape)

    return ModulePatch(None, add)


def _module_patch(edits: Sequence[Edit | None], writer: Writer, cache: EditCache, rows: _Rows) -> ModulePatch:
    factors = factors_of_trials(cache, edits)
    edit_split_output = _output_edit(edits, writer, factors, cache, rows)
    c = _PerRow(factors.c, rows)

    def scale(x: Tensor) -> Tensor:
        return (rows.split(x) * c.of(x)).reshape(x.shape)

    def edit(y: Tensor) -> Tensor:
        return edit_split_output(rows.split(y)).reshape(y.shape)

    return ModulePatch(scale if cache.norm_preservation == "columns" else None, edit)


def _output_edit(
    edits: Sequence[Edit | None], writer: Writer, factors: Factors, cache: EditCache, rows: _Rows
) -> Callable[[Tensor], Tensor]:
    """Return the function that edits an output split into rows."""
    r, a, b = (_PerRow(values, rows) for values in (factors.r, factors.a, factors.b))

    def project(y: Tensor) -> Tensor:
        return edit_output(y, factors._replace(r=r.of(y), a=a.of(y), b=b.of(y)))

    all_biases_edited = all(edit is None or edit.bias is not None for edit in edits)
    if writer.bias is None or (cache.norm_preservation == "none" and all_biases_edited):
        return project
    # Here the writer has a single matrix: several are edited by `none` alone, together with all of their biases.
    name = writer.bias.parameter
    bias = cache.parameters[name].to(torch.float64)
    old_bias = _PerRow(bias.expand(len(edits), -1), rows)
    new_bias = _PerRow(torch.stack([_edited_vector(name, bias, edit, cache) for edit in edits]), rows)

    def project_without_bias(y: Tensor) -> Tensor:
        return project(y - old_bias.of(y)) + new_bias.of(y)

    return project_without_bias


def _edited_vector(name: str, bias: Tensor, edit: Edit | None, cache: EditCache) -> Tensor:
    """Return the bias [d] of that name after an edit, which may leave it as it is."""
    placed = {} if edit is None else {one.layout.parameter: one.norms for one in biases_of(edit)}
    if edit is None or name not in placed:
        return bias
    with naming_in_errors(name):
        direction = applied_direction(
            edit.direction, placed[name], cache.directions, cache.baseline_means, cache.parameters
        )
        return edit_bias(bias, direction, edit.strength)


class _Rows:
    """The trial of each row of the batch that is in the model; changes before each forward pass."""

    def __init__(self, trials: int) -> None:
        self.trials = trials
        self._index = torch.zeros(0, dtype=torch.long)

    def select(self, trials: Sequence[int]) -> None:
        self._index = torch.tensor(trials, dtype=torch.long)

    def on(self, device: torch.device) -> Tensor:
        if self._index.device != device:
            self._index = self._index.to(device)  # once per pass, not once per module
        return self._index

    def split(self, x: Tensor) -> Tensor:
        """Return an input or output of a module as [batch, tokens, n]; some modules have it as [batch · tokens, n]."""
        if self.trials == 1:
            return x
        count = len(self._index)
        fits = count > 0 and (x.shape[0] == count if x.ndim > 2 else x.shape[0] % count == 0)
        if not fits:
            raise UnwriteError(
                f"a module must take and return one vector per token of each of {count} rows, got shape "
                f"{list(x.shape)}. Set runtime.backend to weights."
            )
        return x.reshape(count, -1, x.shape[-1])


class _PerRow:
    """One vector per trial, [K, n], moved once to the dtype and device where it is needed."""

    def __init__(self, values: Tensor, rows: _Rows) -> None:
        self._values, self._rows = values, rows

    def of(self, x: Tensor) -> Tensor:
        """Return the vector of each row, [batch, 1, n], or [n] for a single trial, in the dtype and device of x."""
        if self._values.dtype != x.dtype or self._values.device != x.device:
            self._values = self._values.to(x)
        if self._rows.trials == 1:
            return self._values[0]
        return self._values[self._rows.on(x.device)].unsqueeze(1)
