"""The three tensors of a directions file, and a check that a set of tensors is one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

DIRECTION_TENSORS = ("baseline_mean", "directions", "target_mean")
_LISTED = 4


def wrong_directions(tensors: Mapping[str, Tensor]) -> str | None:
    """Describe how tensors differ from those of a directions file.

    Args:
        tensors: tensors by name; a directions file holds floating-point tensors of one shape, [P, L+1, d].

    Returns:
        The difference as "must hold …, got …"; None if there is none.
    """
    same_shape = len({tensor.shape for tensor in tensors.values()}) == 1
    floating_point = all(tensor.is_floating_point() for tensor in tensors.values())
    if (
        tuple(sorted(tensors)) == DIRECTION_TENSORS
        and same_shape
        and floating_point
        and tensors["directions"].ndim == len("PLd")
    ):
        return None
    described = [_describe(name, tensor) for name, tensor in sorted(tensors.items())]
    more = ", …" if len(described) > _LISTED else ""
    return (
        f"must hold {', '.join(DIRECTION_TENSORS)} of one shape [positions, residual indices, hidden size], "
        f"got {', '.join(described[:_LISTED]) or 'nothing'}{more}"
    )


def _describe(name: str, tensor: Tensor) -> str:
    dtype = "" if tensor.is_floating_point() else f" ({str(tensor.dtype).removeprefix('torch.')})"
    return f"{name} {list(tensor.shape)}{dtype}"
