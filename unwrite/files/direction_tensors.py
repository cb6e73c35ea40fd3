"""The three tensors of a directions file, and whether a set of tensors is that."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

DIRECTION_TENSORS = ("baseline_mean", "directions", "target_mean")
_LISTED = 4


def wrong_directions(tensors: Mapping[str, Tensor]) -> str | None:
    """Return how tensors differ from those of a directions file, as "must hold …, got …"; None if they do not.

    Args:
        tensors: by name; a directions file holds floating-point tensors of one shape, [P, L+1, d].
    """
    alike = len({tensor.shape for tensor in tensors.values()}) == 1
    real = all(tensor.is_floating_point() for tensor in tensors.values())
    if tuple(sorted(tensors)) == DIRECTION_TENSORS and alike and real and tensors["directions"].ndim == len("PLd"):
        return None
    held = [_described(name, tensor) for name, tensor in sorted(tensors.items())]
    more = ", …" if len(held) > _LISTED else ""
    return (
        f"must hold {', '.join(DIRECTION_TENSORS)} of one shape [positions, residual indices, hidden size], "
        f"got {', '.join(held[:_LISTED]) or 'nothing'}{more}"
    )


def _described(name: str, tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" ({str(tensor.dtype).removeprefix('torch.')})"
    return f"{name} {list(tensor.shape)}{kind}"
