"""The values of one tensor of a release compared with the expected ones, bit by bit."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unwrite.files.safetensors import DTYPES

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class TensorComparison(NamedTuple):
    """The values of one tensor compared with the expected ones: the base's or, if a change is declared, its edit.

    Attributes:
        declared: whether a change of it is declared.
        numbers: how many values it holds, or bytes if they are not floating point.
        differing: values whose bits are not the expected ones.
        rounded: those of them that are the next value above or below; a zero of the other sign counts too.
        largest: the largest absolute difference; infinite if one of two values is not finite.
        equals_base: whether it equals the base's to the byte.
        finite: whether the release's values are neither NaN nor infinite.
        base_squares: ‖W‖² of a tensor whose change is declared, the base's.
        change_squares: ‖ΔW‖² of the change that is expected.
    """

    declared: bool
    numbers: int = 0
    differing: int = 0
    rounded: int = 0
    largest: float = 0.0
    equals_base: bool = True
    finite: bool = True
    base_squares: float = 0.0
    change_squares: float = 0.0


def with_block(found: TensorComparison, dtype: str, base: bytes, expected: bytes, actual: bytes) -> TensorComparison:
    """Add one block to a comparison.

    Args:
        found: the comparison of the blocks before it.
        dtype: the dtype in the checkpoint.
        base: the base's bytes.
        expected: the bytes that the release should have.
        actual: the bytes that it has.
    """
    kind = DTYPES.get(dtype, torch.uint8)
    found = found._replace(
        numbers=found.numbers + len(expected) // kind.itemsize,
        equals_base=found.equals_base and actual == base,
        finite=found.finite and _is_finite(actual, kind),
    )
    if found.declared and kind.is_floating_point:
        squares, changed = _squares(base, expected, kind)
        found = found._replace(base_squares=found.base_squares + squares, change_squares=found.change_squares + changed)
    if actual == expected:
        return found
    expected_bits, actual_bits = _differing_bits(expected, actual, _INTEGERS[kind.itemsize])
    difference = expected_bits.view(kind).double() - actual_bits.view(kind).double()
    distance = difference.abs().nan_to_num(nan=math.inf, posinf=math.inf)
    rounded = 0
    if kind.is_floating_point:
        neighbours = (_in_order(expected_bits) - _in_order(actual_bits)).abs() <= 1
        rounded = int((neighbours & distance.isfinite()).sum())
    return found._replace(
        differing=found.differing + len(distance),
        rounded=found.rounded + rounded,
        largest=max(found.largest, float(distance.max())),
    )


def _squares(base: bytes, expected: bytes, kind: torch.dtype) -> tuple[float, float]:
    """Return ‖W‖² and ‖ΔW‖² of one block, to a few digits: `edit_size` takes five times as long for all of them."""
    wide = torch.promote_types(kind, torch.float32)
    before, change = (torch.frombuffer(bytearray(data), dtype=kind).to(wide) for data in (base, expected))
    change -= before
    return float(before.dot(before)), float(change.dot(change))


def _is_finite(data: bytes, kind: torch.dtype) -> bool:
    """Return whether values are finite, by their bits: several times faster than comparing numbers."""
    if not kind.is_floating_point:
        return True
    infinity = int(torch.tensor(math.inf, dtype=kind).view(_INTEGERS[kind.itemsize]))
    # NaN follows infinity: among positive values as signed integers, among negative ones as unsigned.
    signed, unsigned = (np.frombuffer(data, f"<{sign}{kind.itemsize}") for sign in "iu")
    negative_infinity = infinity + (1 << (8 * kind.itemsize - 1))
    return not data or bool(signed.max() < infinity and unsigned.max() < negative_infinity)


def _differing_bits(expected: bytes, actual: bytes, integers: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the bits of those values that differ, as integers of the same width."""
    expected_bits, actual_bits = (torch.frombuffer(bytearray(data), dtype=integers) for data in (expected, actual))
    differs = expected_bits != actual_bits
    return expected_bits[differs], actual_bits[differs]


def _in_order(bits: Tensor) -> Tensor:
    """Map the bits of floating-point values to integers in the order of the values, neighbours one apart."""
    return torch.where(bits < 0, torch.iinfo(bits.dtype).min - bits.long(), bits.long())
