"""Sums and roots in float64 that give the same bytes on any machine, with any threads, however the rows were cut.

A library's `sum` and `matmul` choose their order of additions by vector width, thread count and shape, so their last
bits differ between machines. An edited checkpoint is compared byte for byte, so the sums behind it fix their order:
only element-wise additions, in halves, over groups of rows that start at multiples of `GROUP_ROWS`. IEEE 754 defines
these, products and quotients to the bit; the root it defines too, but some builds of torch round it otherwise.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

GROUP_ROWS = 64
"""Rows that are held in float64 at once: few, so that a large weight never is as a whole.

Another number would change the last bits of every edit, and with them what an earlier release is verified against.
"""


def stable_sum(x: Tensor, dim: int) -> Tensor:
    """Sum along one axis by adding its halves to each other until one slice is left.

    Every step is an element-wise addition, which IEEE 754 defines to the bit, so the result depends on nothing but the
    numbers. The error grows with the logarithm of the length (pairwise summation; Higham 1993, *The Accuracy of
    Floating Point Summation*).

    Args:
        x: any shape; summed in its own dtype.
        dim: the axis that goes.

    Returns:
        `x` without the axis `dim`; zeros where the axis was empty.
    """
    x = x.movedim(dim, 0)
    if len(x) == 0:
        return torch.zeros(x.shape[1:], dtype=x.dtype, device=x.device)
    total = x.clone()
    add_up(halves(total, 0))
    return total[0]


def halves(x: Tensor, dim: int) -> list[tuple[Tensor, Tensor]]:
    """Return views of `x`: adding the second of each pair to the first leaves its sum along `dim` in its first slice.

    A list of them serves as often as `x` is filled again, which spares making the views each time.

    Args:
        x: any shape, the axis `dim` not empty.
        dim: the axis to be summed.
    """
    x = x.movedim(dim, 0)
    pairs, length = [], len(x)
    while length > 1:
        half = length // 2
        pairs.append((x[:half], x[half : 2 * half]))
        if length % 2:
            pairs.append((x[:1], x[length - 1 : length]))
        length = half
    return pairs


def add_up(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Add the second of each pair to the first, in place, one pair after the other."""
    for one, other in pairs:
        one.add_(other)


def stable_sqrt(x: Tensor) -> Tensor:
    """Compute the square root, correctly rounded as IEEE 754 asks; `torch.sqrt` with MKL's vector functions is not.

    Args:
        x: any shape, float64, no negative numbers.

    Returns:
        The same shape, float64.
    """
    roots = [math.sqrt(number) for number in x.flatten().tolist()]
    return torch.tensor(roots, dtype=x.dtype, device=x.device).reshape(x.shape)


def aligned_groups(
    blocks: Iterable[tuple[slice, Tensor]], total_rows: int, dtype: torch.dtype | None = torch.float64
) -> Iterator[tuple[slice, Tensor]]:
    """Cut consecutive row blocks again, so that what follows doesn't depend on how they were cut.

    Args:
        blocks: (rows, block [rows, k]) in order, from row 0 without gaps; any floating dtype and block size.
        total_rows: how many rows there must be in all.
        dtype: what they come in; None for their own.

    Yields:
        (rows, group [≤ GROUP_ROWS, k]), each starting at a multiple of `GROUP_ROWS`.

    Raises:
        ValueError: the weight has another number of rows; the blocks are out of order, or a block isn't as long as its
            slice says.
    """
    start = read = 0
    left: Tensor | None = None
    for rows, block in blocks:
        if rows.start != read or rows.stop != read + len(block):
            raise ValueError(
                f"blocks must follow one another, expected one from row {read}, "
                f"got rows {rows.start}:{rows.stop} and {len(block)} rows"
            )
        read = rows.stop
        ready = block if left is None else torch.cat([left, block])
        whole = len(ready) - len(ready) % GROUP_ROWS
        for first in range(0, whole, GROUP_ROWS):
            _check_rows(start + GROUP_ROWS, total_rows)
            yield slice(start, start + GROUP_ROWS), ready[first : first + GROUP_ROWS].to(dtype)
            start += GROUP_ROWS
        # A copy, since the caller may fill the same buffer again.
        left = ready[whole:].clone() if whole < len(ready) else None
    _check_rows(read, total_rows, complete=True)
    if left is not None:
        yield slice(start, read), left.to(dtype)


def _check_rows(rows: int, expected: int, *, complete: bool = False) -> None:
    if rows > expected or (complete and rows != expected):
        raise ValueError(
            f"a weight must have one row for each of the direction's {expected} numbers, "
            f"got {'' if complete else 'at least '}{rows} rows"
        )
