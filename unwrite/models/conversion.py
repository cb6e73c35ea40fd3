"""Find the checkpoint's tensors that a parameter in memory is loaded from.

transformers renames and converts tensors while it loads them: it stacks experts and transposes some matrices. Here each
name in the checkpoint is followed forward to its parameter by transformers' own rules, and the parameter's hidden axis
is followed back through the operations on that way. Reversing the rules would not work: several names can lead to one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.tied import names_of_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.core_model_loading import WeightConverter

_MISMATCH = "The checkpoint does not match config.json: download both again, or correct model.source."


_SHOWN = 3  # names of tensors in a message


class StoredPart(NamedTuple):
    """A tensor of the checkpoint, and where it holds a parameter's matrices (or vectors): hidden axis, how many."""

    tensor: str
    axis: int
    num_matrices: int


class _Route(NamedTuple):
    """How a parameter is loaded: its tensors in order, and the operations that make the parameter from them."""

    tensors: list[str]
    operations: Sequence[Any]


class _Routes(NamedTuple):
    """The route of each parameter, and the unused tensors: the name each would have in memory → its own."""

    of_parameter: dict[str, _Route]
    unused: dict[str, str]


class _Pieces(NamedTuple):
    """A parameter at one step of the way back: number and shape of its tensors, their hidden axis, matrices in each."""

    tensors: int
    shape: tuple[int, ...]
    axis: int
    num_matrices: int


def locate_parameters(
    config: PreTrainedConfig, parameters: Mapping[str, tuple[int, int]], stored: Mapping[str, Sequence[int]]
) -> dict[str, list[StoredPart]]:
    """Find where the checkpoint holds some parameters of a model, without reading any of its values.

    Args:
        config: the configuration of the model.
        parameters: a parameter's name in memory → its hidden axis and how many matrices (or vectors) it holds.
        stored: a tensor's name in the checkpoint → its shape.

    Returns:
        the tensors that hold each parameter; their matrices, one tensor after the other, are in the parameter's order.

    Raises:
        UnwriteError: a tensor is missing or has another shape than the configuration implies, the configuration ties
            parameters that the checkpoint stores twice, or loading mixes values that would have to be edited.
    """
    model = build_on_meta(config)
    routes = _routes(model, stored)
    names = names_of_parameters(model)
    sources = {name: [alias for alias in names[name] if alias in routes.of_parameter] for name in parameters}
    if missing := [name for name, aliases in sources.items() if not aliases]:
        raise UnwriteError(_missing_message(missing, routes.unused))
    parts: dict[str, list[StoredPart]] = {}
    for name, (axis, num_matrices) in parameters.items():
        if len(sources[name]) > 1:
            raise UnwriteError(
                f"config.json ties {' and '.join(sources[name])}, but the checkpoint stores each, and which one is "
                "used depends on their values. Save the model again with save_pretrained."
            )
        route = routes.of_parameter[sources[name][0]]
        whole = _Pieces(1, tuple(model.get_parameter(name).shape), axis, num_matrices)
        pieces = _undo_operations(name, whole, route, stored)
        _check_stored(name, pieces, route.tensors, stored)
        parts[name] = [StoredPart(tensor, pieces.axis, pieces.num_matrices) for tensor in route.tensors]
    return parts


def unloaded_tensors(config: PreTrainedConfig, stored: Collection[str]) -> list[str]:
    """List the tensors of a checkpoint that loading its model leaves aside, in the checkpoint's order."""
    unused = set(_routes(build_on_meta(config), stored).unused.values())
    return [tensor for tensor in stored if tensor in unused]


def refuse_missing_tensors(config: PreTrainedConfig, stored: Collection[str], listed: Collection[str]) -> None:
    """Refuse a checkpoint that lacks tensors of the model, which loading it would notice only with all of its weights.

    Args:
        config: the configuration of the model.
        stored: the names of the checkpoint's tensors.
        listed: those of them that its index names; all of them if it has none.

    Raises:
        UnwriteError: a parameter has no tensor, or the index leaves out a tensor that the model needs.
    """
    model = build_on_meta(config)
    routes = _routes(model, stored)
    optional = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_missing", None) or ()]
    missing = [
        name
        for name, aliases in names_of_parameters(model).items()
        if name == aliases[0]
        and not routes.of_parameter.keys() & set(aliases)
        and not any(pattern.search(alias) for pattern in optional for alias in aliases)
    ]
    if missing:
        raise UnwriteError(_missing_message(missing, routes.unused))
    unlisted = {tensor for route in routes.of_parameter.values() for tensor in route.tensors} - set(listed)
    if unlisted:
        raise UnwriteError(f"The checkpoint's index leaves out {_named(sorted(unlisted))}. Download it again.")


def _routes(model: PreTrainedModel, stored: Collection[str]) -> _Routes:
    """Follow each tensor of the checkpoint to the parameter (or parameters) that it is loaded into.

    This repeats transformers' `convert_and_load_state_dict_in_model`, including its order: experts are stacked by
    number.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    expected, prefix = model.state_dict(), model.base_model_prefix
    tensors: dict[str, list[str]] = {}
    operations: dict[str, Sequence[Any]] = {}
    unused: dict[str, str] = {}
    for tensor in sorted(stored, key=dot_natural_key):
        name, pattern = rename_source_key(tensor, renamings, converters, prefix, expected)
        if name not in expected and tensor in expected:
            name, pattern = rename_source_key(tensor, [], [], prefix, expected)
        if name not in expected:
            unused[name] = tensor
            continue
        for target in _targets(name, None if pattern is None else by_pattern[pattern]):
            tensors.setdefault(target, []).append(tensor)
            operations.setdefault(target, () if pattern is None else by_pattern[pattern].operations)
    return _Routes({name: _Route(tensors[name], operations[name]) for name in tensors}, unused)


def _targets(name: str, converter: WeightConverter | None) -> list[str]:
    """List the parameters that a conversion makes, given the name of the first; without one, only that name."""
    if converter is None:
        return [name]
    first, *others = converter.target_patterns
    return [name, *(name.replace(first, other) for other in others)]


def _missing_message(names: Sequence[str], unused: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(names[0], unused, n=1)
    hint = f" The nearest unused tensor is {unused[near[0]]}." if near else ""
    return f"The checkpoint has no tensor {_named(names)}.{hint}\n{_MISMATCH}"


def _named(names: Sequence[str]) -> str:
    """Return the first few names, and how many there are."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, … ({len(names)} in all)" if len(names) > _SHOWN else shown


def _undo_operations(name: str, whole: _Pieces, route: _Route, stored: Mapping[str, Sequence[int]]) -> _Pieces:
    """Undo the operations that make a parameter, the last one first, to get what the checkpoint should hold."""
    from transformers.core_model_loading import MergeModulelist, Transpose

    pieces: _Pieces | None = whole
    for operation in reversed(route.operations):
        if pieces is None or pieces.tensors > 1:  # only the first operation, stacking, takes several tensors
            pieces = None
        elif type(operation) is MergeModulelist:
            pieces = _unstacked(pieces, operation.dim)
        elif type(operation) is not Transpose or (operation.check_dims and len(route.operations) > 1):
            pieces = None  # unknown, or it depends on the shape that another one made
        elif not operation.check_dims or tuple(stored[route.tensors[0]]) != whole.shape:
            pieces = _transposed(pieces, operation.dim0, operation.dim1)
    if pieces is None:
        others = " and others" if len(route.tensors) > 1 else ""
        raise UnwriteError(
            f"{name} is made from {route.tensors[0]}{others} by {' and '.join(map(repr, route.operations))}, which "
            "mixes the values to edit, so no edit of the checkpoint is exact."
        )
    return pieces


def _unstacked(after: _Pieces, dim: int) -> _Pieces | None:
    """Undo a stack along `dim` if each of its parts is one matrix (or vector); else return None."""
    _, shape, axis, num_matrices = after
    dim %= len(shape)
    if dim != _group_axis(axis) or shape[dim] != num_matrices:
        return None
    return _Pieces(num_matrices, (*shape[:dim], *shape[dim + 1 :]), axis - (dim < axis), 1)


def _transposed(after: _Pieces, first: int, second: int) -> _Pieces | None:
    """Undo a transposition if the first axis that is not hidden still counts the matrices; else return None."""
    _, shape, axis, num_matrices = after
    order = list(range(len(shape)))
    order[first], order[second] = order[second], order[first]
    moved = order[axis]
    if num_matrices > 1 and (len(shape) < 3 or order[_group_axis(axis)] != _group_axis(moved)):
        return None
    return _Pieces(1, tuple(shape[position] for position in order), moved, num_matrices)


def _group_axis(axis: int) -> int:
    """Return the axis that counts experts: the first that is not the hidden one."""
    return 0 if axis else 1


def _check_stored(name: str, pieces: _Pieces, tensors: Sequence[str], stored: Mapping[str, Sequence[int]]) -> None:
    for tensor in tensors:
        if tuple(stored[tensor]) != pieces.shape:
            raise UnwriteError(
                f"{tensor} must have shape {list(pieces.shape)}, got {list(stored[tensor])}.\n{_MISMATCH}"
            )
    if len(tensors) != pieces.tensors:
        gap = _first_missing_name(tensors, pieces.tensors)
        detail = f"{gap} is missing" if gap else f"the first is {tensors[0]}"
        raise UnwriteError(
            f"{name} must be stored as {pieces.tensors} tensors, got {len(tensors)}: {detail}.\n{_MISMATCH}"
        )


def _first_missing_name(tensors: Sequence[str], count: int) -> str | None:
    """Return the first name missing from a sequence numbered from 0; None if the names are not such a sequence."""
    for position, part in enumerate(words := tensors[0].split(".")):
        numbered = [".".join([*words[:position], str(number), *words[position + 1 :]]) for number in range(count)]
        if part.isdigit() and set(tensors) < set(numbered):
            return next(name for name in numbered if name not in tensors)
    return None
