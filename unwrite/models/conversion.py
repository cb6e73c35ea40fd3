"""From a parameter in memory to the checkpoint's tensors it is loaded from.

transformers renames and converts tensors while it loads them: experts are stacked, some matrices transposed. Every
name in the checkpoint is taken forward to its parameter by transformers' own rules, and the parameter's hidden axis is
taken back through the operations on that way. The reverse rules would not do: several names can lead to one.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.tied import names_of_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_MISMATCH = "The checkpoint does not fit its config.json; download both again, or correct model.source."


class StoredPart(NamedTuple):
    """A tensor of the checkpoint, and where it holds a parameter's matrices (or vectors): hidden axis, how many."""

    tensor: str
    axis: int
    num_matrices: int


class _Route(NamedTuple):
    """How a parameter is loaded: its tensors in their order, and the operations that make it of them."""

    tensors: list[str]
    operations: Sequence[Any]


class _Pieces(NamedTuple):
    """What a parameter is at one step of the way back: `tensors` of `shape`, hidden axis, matrices in each."""

    tensors: int
    shape: tuple[int, ...]
    axis: int
    num_matrices: int


def locate_parameters(
    config: PreTrainedConfig, parameters: Mapping[str, tuple[int, int]], stored: Mapping[str, Sequence[int]]
) -> dict[str, list[StoredPart]]:
    """Where the checkpoint holds some parameters of a model, without reading any of its values.

    Args:
        config: The model's configuration.
        parameters: A parameter's name in memory → its hidden axis and how many matrices (or vectors) it holds.
        stored: A tensor's name in the checkpoint → its shape.

    Returns:
        The tensors that hold each parameter; their matrices, one tensor after the other, are in the parameter's order.

    Raises:
        UnwriteError: A tensor is missing or of another shape than the configuration says, the configuration ties
            parameters that the checkpoint holds twice, or loading mixes what would have to be edited.
    """
    model = build_on_meta(config)
    routes, unused = _routes(model, stored)
    names = names_of_parameters(model)
    sources = {name: [alias for alias in names[name] if alias in routes] for name in parameters}
    if missing := [name for name, found in sources.items() if not found]:
        raise UnwriteError(_missing(missing, unused))
    places: dict[str, list[StoredPart]] = {}
    for name, (axis, num_matrices) in parameters.items():
        if len(sources[name]) > 1:
            raise UnwriteError(
                f"{' and '.join(sources[name])} are one (tied) parameter by config.json, but the checkpoint holds each "
                "of them: which one counts depends on their values. Save the model again with save_pretrained."
            )
        route = routes[sources[name][0]]
        whole = _Pieces(1, tuple(model.get_parameter(name).shape), axis, num_matrices)
        pieces = _taken_back(name, whole, route, stored)
        _check_stored(name, pieces, route.tensors, stored)
        places[name] = [StoredPart(tensor, pieces.axis, pieces.num_matrices) for tensor in route.tensors]
    return places


def _routes(model: PreTrainedModel, stored: Collection[str]) -> tuple[dict[str, _Route], dict[str, str]]:
    """How each parameter is loaded, and what is not loaded: the name it would have in memory → its own.

    Goes as transformers does (`convert_and_load_state_dict_in_model`), in its order too: experts are stacked by number.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    expected, prefix = model.state_dict(), model.base_model_prefix
    routes: dict[str, _Route] = {}
    unused: dict[str, str] = {}
    for tensor in sorted(stored, key=dot_natural_key):
        name, pattern = rename_source_key(tensor, renamings, converters, prefix, expected)
        if name not in expected and tensor in expected:
            name, pattern = rename_source_key(tensor, [], [], prefix, expected)
        if name not in expected:
            unused[name] = tensor
        elif pattern is None:
            routes.setdefault(name, _Route([], ())).tensors.append(tensor)
        else:
            first, *others = by_pattern[pattern].target_patterns
            for target in (name, *(name.replace(first, other) for other in others)):
                routes.setdefault(target, _Route([], by_pattern[pattern].operations)).tensors.append(tensor)
    return routes, unused


def _missing(names: Sequence[str], unused: Mapping[str, str]) -> str:
    more = f" (and {len(names) - 1} more that are needed)" if len(names) > 1 else ""
    near = difflib.get_close_matches(names[0], unused, n=1)
    hint = f" The nearest it has, and the model does not use, is {unused[near[0]]}." if near else ""
    return f"The checkpoint has no tensor {names[0]}{more}.{hint}\n{_MISMATCH}"


def _taken_back(name: str, whole: _Pieces, route: _Route, stored: Mapping[str, Sequence[int]]) -> _Pieces:
    """What the checkpoint should hold of a parameter, by undoing the operations on its way, the last one first."""
    from transformers.core_model_loading import MergeModulelist, Transpose

    pieces: _Pieces | None = whole
    for operation in reversed(route.operations):
        if pieces is None or pieces.tensors > 1:  # what stacks tensors is the first: nothing else takes several
            pieces = None
        elif type(operation) is MergeModulelist:
            pieces = _unstacked(pieces, operation.dim)
        elif type(operation) is not Transpose or (operation.check_dims and len(route.operations) > 1):
            pieces = None  # not known, or it looks at the shape of what another one made
        elif not operation.check_dims or tuple(stored[route.tensors[0]]) != whole.shape:
            pieces = _transposed(pieces, operation.dim0, operation.dim1)
    if pieces is None:
        others = " and others" if len(route.tensors) > 1 else ""
        raise UnwriteError(
            f"{name} is made of {route.tensors[0]}{others} by {' and '.join(map(repr, route.operations))} when it is "
            "loaded, which mixes what would have to be edited: no edit of the checkpoint is exact."
        )
    return pieces


def _unstacked(after: _Pieces, dim: int) -> _Pieces | None:
    """What was stacked along `dim`, if that is one matrix (or vector) each."""
    _, shape, axis, num_matrices = after
    dim %= len(shape)
    if dim != _group_axis(axis) or shape[dim] != num_matrices:
        return None
    return _Pieces(num_matrices, (*shape[:dim], *shape[dim + 1 :]), axis - (dim < axis), 1)


def _transposed(after: _Pieces, first: int, second: int) -> _Pieces | None:
    """What was transposed, if its matrices are still counted by the first axis that is not the hidden one."""
    _, shape, axis, num_matrices = after
    order = list(range(len(shape)))
    order[first], order[second] = order[second], order[first]
    moved = order[axis]
    if num_matrices > 1 and (len(shape) < 3 or order[_group_axis(axis)] != _group_axis(moved)):
        return None
    return _Pieces(1, tuple(shape[place] for place in order), moved, num_matrices)


def _group_axis(axis: int) -> int:
    """The axis that counts experts: the first that is not the hidden one."""
    return 0 if axis else 1


def _check_stored(name: str, pieces: _Pieces, tensors: Sequence[str], stored: Mapping[str, Sequence[int]]) -> None:
    for tensor in tensors:
        if tuple(stored[tensor]) != pieces.shape:
            raise UnwriteError(
                f"{tensor} has the shape {list(stored[tensor])}, by config.json {list(pieces.shape)}.\n{_MISMATCH}"
            )
    if len(tensors) != pieces.tensors:
        gap = _gap(tensors, pieces.tensors)
        raise UnwriteError(
            f"The checkpoint has {len(tensors)} tensors of the {pieces.tensors} that make up {name}"
            f"{f': {gap} is missing' if gap else f', the first of them {tensors[0]}'}.\n{_MISMATCH}"
        )


def _gap(tensors: Sequence[str], count: int) -> str | None:
    """The first name missing from a sequence numbered from 0, if that is what the names are."""
    for place, part in enumerate(words := tensors[0].split(".")):
        numbered = [".".join([*words[:place], str(number), *words[place + 1 :]]) for number in range(count)]
        if part.isdigit() and set(tensors) < set(numbered):
            return next(name for name in numbered if name not in tensors)
    return None
