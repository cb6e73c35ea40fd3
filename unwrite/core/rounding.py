"""From float64 to the dtype of a stored parameter, rounded once."""

import torch
from torch import Tensor


def round_to(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to the nearest number of a dtype, ties to even (IEEE 754).

    torch converts float64 to a 16-bit type through float32 and so rounds twice, which near a tie gives the wrong
    neighbour. Rounding to odd in between keeps the information that the second rounding needs (Boldo & Melquiond 2008,
    *Emulation of FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd*).

    Args:
        values: a tensor of any shape, float64.
        dtype: float64, float32, bfloat16 or float16.

    Returns:
        The rounded values, in the same shape and in `dtype`.

    Raises:
        ValueError: a finite value is beyond the largest number of the dtype.
    """
    if dtype == torch.float64:
        return values
    rounded = (values if dtype == torch.float32 else _to_odd(values)).to(dtype)
    lowest, highest = _magnitudes(rounded)
    if dtype == torch.bfloat16 and lowest < torch.finfo(dtype).tiny:
        rounded = _to_odd_below_normal(values).to(dtype)
    if not highest < torch.inf and bool((rounded.isinf() & values.isfinite()).any()):
        raise ValueError(
            f"values must be at most {torch.finfo(dtype).max:.3g} in {str(dtype).removeprefix('torch.')}, "
            f"got {float(values.abs().max()):.3g}; use a smaller strength or a wider dtype"
        )
    return rounded


def _magnitudes(values: Tensor) -> tuple[float, float]:
    """Return the smallest and largest absolute value, NaN being the largest; compared as integers, which is faster."""
    integers = {2: torch.int16, 4: torch.int32}[values.itemsize]
    bits = values.view(integers) & torch.iinfo(integers).max
    lowest, highest = (extreme.view(values.dtype) for extreme in bits.aminmax())
    return float(lowest), float(highest)


_DROPPED = (1 << 29) - 1  # the bits of a float64 that a float32 cannot hold


def _to_odd(values: Tensor) -> Tensor:
    """Round float64 to 24 bits; an inexact result gets a last bit of 1, so that the next rounding sees no tie."""
    bits = values.view(torch.int64)
    odd = (bits & _DROPPED).add_(_DROPPED).bitwise_or_(bits).bitwise_and_(~_DROPPED)
    return odd.view(torch.float64)


def _to_odd_below_normal(values: Tensor) -> Tensor:
    """Do the same in float32, which has fewer bits for numbers under 2⁻¹²⁶, the smallest of bfloat16 among them."""
    near = values.to(torch.float32)
    back = near.to(torch.float64)
    even = (near.view(torch.int32) & 1) == 0
    towards = torch.where(values > back, torch.inf, -torch.inf).to(torch.float32)
    return torch.where((back != values) & even, torch.nextafter(near, towards), near)
