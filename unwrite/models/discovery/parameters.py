"""Find the parameters of a module that write the stream: axes, numbers of matrices, biases.

A parameter writes along one of its axes exactly when projecting v out of that axis changes the module's output along v
only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unwrite.models.discovery.experts import count_matrices
from unwrite.models.discovery.probes import (
    EXACT,
    TOLERANCE,
    Call,
    RecordedLayer,
    UnprovableError,
    projected,
    rerun,
)


class Weight(NamedTuple):
    """A parameter that writes along `axis`, how many matrices [d, k] it holds, and its bias; names within the layer."""

    parameter: str
    axis: int
    num_matrices: int
    bias: str | None
    bias_axis: int


class _Biases(NamedTuple):
    """The bias of each matrix (or None), and the biases that belong to none."""

    of_matrix: dict[str, str | None]
    unpaired: list[str]


def find_weights(recorded: RecordedLayer, name: str) -> tuple[Weight, ...]:
    """Find the parameters by which a module writes.

    Raises:
        UnprovableError: projecting the direction out of them does not remove it from the module's output, or they are
            not matrices with one bias each.
    """
    module, call, v = recorded.module(name), recorded.calls[name], recorded.direction
    axes = _written_axes(module, call, v)
    refusal = f"{recorded.label(name)} cannot be edited exactly"
    if not axes:
        raise UnprovableError(f"{refusal}: none of its parameters writes along one axis")
    left = _remaining_share(module, call, v, axes)
    if left > EXACT:
        raise UnprovableError(
            f"{refusal}: {left:.1%} of its output stays along the direction with {', '.join(axes)} edited"
        )
    parameters = {key: module.get_parameter(key) for key in axes}
    num_matrices = {key: count_matrices(module, call, parameters[key], axis, v) for key, axis in axes.items()}
    biases = _pair_biases(parameters, axes, num_matrices)
    if not biases.of_matrix:
        raise UnprovableError(f"{refusal}: only biases write ({', '.join(axes)}), and a recipe edits matrices")
    if biases.unpaired:
        raise UnprovableError(f"{refusal}: {', '.join(biases.unpaired)} is a second bias, and a recipe edits one")
    return tuple(
        Weight(
            parameter=f"{name}.{key}",
            axis=axes[key],
            num_matrices=num_matrices[key],
            bias=None if bias is None else f"{name}.{bias}",
            bias_axis=0 if bias is None else axes[bias],
        )
        for key, bias in biases.of_matrix.items()
    )


def _written_axes(module: nn.Module, call: Call, v: Tensor) -> dict[str, int]:
    """Find the parameters of a module that write, and the axis along which each does."""
    parameters = dict(module.named_parameters())
    axes = {
        key: axis
        for key, parameter in parameters.items()
        for axis, size in enumerate(parameter.shape)
        if size == len(v) and _responds(module, call, parameter, axis, v)
    }
    # Experts may be separate modules. One that no token reached writes like those that were reached.
    forms = {(_form(key), parameters[key].shape): axis for key, axis in axes.items()}
    for key, parameter in parameters.items():
        axis = forms.get((_form(key), parameter.shape))
        if key not in axes and axis is not None and _is_idle(module, call, parameter, axis, v):
            axes[key] = axis
    return axes


def _responds(module: nn.Module, call: Call, parameter: nn.Parameter, axis: int, v: Tensor) -> bool:
    """Return whether projecting v out of an axis changes the module's output along v only."""
    with projected(parameter, axis, v):
        moved = rerun(module, call) - call.output
    size = float(call.output.norm(dim=-1).max())
    along = moved @ v
    off_direction = (moved - along[:, None] * v).norm(dim=-1).max()
    return float(along.abs().max()) > TOLERANCE * size and float(off_direction) < EXACT * size


def _is_idle(module: nn.Module, call: Call, parameter: nn.Parameter, axis: int, v: Tensor) -> bool:
    """Return whether projecting v out of an axis changes nothing, because no token reaches the parameter."""
    with projected(parameter, axis, v):
        return torch.equal(rerun(module, call), call.output)


def _remaining_share(module: nn.Module, call: Call, v: Tensor, axes: Mapping[str, int]) -> float:
    """Measure the share of a module's output along v that is left with v projected out of these parameters."""
    with ExitStack() as edits:
        for key, axis in axes.items():
            edits.enter_context(projected(module.get_parameter(key), axis, v))
        return float((rerun(module, call) @ v).abs().max() / call.output.norm(dim=-1).max())


def _pair_biases(
    parameters: Mapping[str, nn.Parameter], axes: Mapping[str, int], num_matrices: Mapping[str, int]
) -> _Biases:
    """Pair each matrix with its bias: one of the same module where one exists, otherwise any that is left."""
    biases = [key for key in parameters if _is_bias(key, parameters, axes, num_matrices)]
    of_matrix: dict[str, str | None] = {key: None for key in parameters if key not in biases}
    unpaired = []
    for bias in biases:
        free = [key for key, taken in of_matrix.items() if taken is None and _owner(key) == _owner(bias)]
        if free:
            of_matrix[free[0]] = bias
        else:
            unpaired.append(bias)
    free = [key for key, taken in of_matrix.items() if taken is None]
    of_matrix.update(zip(free, unpaired, strict=False))
    return _Biases(of_matrix, unpaired[len(free) :])


def _is_bias(
    key: str, parameters: Mapping[str, nn.Parameter], axes: Mapping[str, int], num_matrices: Mapping[str, int]
) -> bool:
    """Return whether a parameter is one vector [d], or one vector per matrix of another parameter, [E, d]."""
    shape = parameters[key].shape
    if len(shape) != 2:
        return len(shape) == 1
    experts = {num_matrices[other] for other in parameters if other != key and num_matrices[other] > 1}
    return axes[key] == 1 and shape[0] in experts


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _form(parameter: str) -> str:
    """Return a parameter's name with N in place of the numbers of list items."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "N", parameter)
