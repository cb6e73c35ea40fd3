"""From float64 to the dtype a parameter is stored in, rounded once."""

import torch
from torch import Tensor

from unwrite.errors import UnwriteError


def round_to(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to the nearest number of a dtype, ties to even (IEEE 754).

    torch takes float64 to a 16-bit type through float32 and so rounds twice, which near a tie gives the wrong
    neighbour. Rounding to odd on the way keeps what the second rounding must know (Boldo & Melquiond 2008, *Emulation
    of FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd*).

    Args:
        values: any shape, float64.
        dtype: float64, float32, bfloat16 or float16.

    Returns:
        The same shape, in `dtype`.

    Raises:
        UnwriteError: a finite value is beyond the largest number of the dtype.
    """
    if dtype in {torch.float64, torch.float32}:
        rounded = values.to(dtype)
    else:
        near = values.to(torch.float32)
        back = near.to(torch.float64)
        even = (near.view(torch.int32) & 1) == 0
        towards = torch.where(values > back, torch.inf, -torch.inf).to(torch.float32)
        odd = torch.where((back != values) & even, torch.nextafter(near, towards), near)
        rounded = odd.to(dtype)
    if bool((rounded.isinf() & values.isfinite()).any()):
        raise UnwriteError(
            f"an edited value of {float(values.abs().max()):.3g} came, beyond what {str(dtype).removeprefix('torch.')} "
            "can hold; use a smaller max_weight, or a base model stored in a wider type"
        )
    return rounded
