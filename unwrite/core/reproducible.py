"""Sums and roots in float64 that give the same bytes on any machine, with any threads and any division into blocks.

A library's `sum` and `matmul` choose their order of additions by vector width, thread count and shape, so their last
bits differ between machines. An edited checkpoint is compared byte for byte, so the sums behind it fix their order:
only element-wise additions, in halves, over groups of rows that start at multiples of `GROUP_ROWS`. IEEE 754 defines
sums, products and quotients to the bit. It defines the square root too, but some builds of torch round it differently.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

GROUP_ROWS = 64
"""Rows held in float64 at once: few, so that a large weight is never converted as a whole.

Another number would change the last bits of every edit, so earlier releases could no longer be verified.
"""


def stable_sum(x: Tensor, dim: int) -> Tensor:
    """Sum along one axis by adding its halves to each other until one slice is left.

    Every step is an element-wise addition, which IEEE 754 defines to the bit, so the result depends only on the
    numbers. The error grows with the logarithm of the length (pairwise summation; Higham 1993, *The Accuracy of
    Floating Point Summation*).

    Args:
        x: a tensor of any shape, summed in its own dtype.
        dim: the axis to sum over.

    Returns:
        The sums: the shape of `x` without the axis `dim`; zeros if the axis is empty.
    """
    x = x.movedim(dim, 0)
    if len(x) == 0:
        return torch.zeros(x.shape[1:], dtype=x.dtype, device=x.device)
    total = x.clone()
    add_up(halves(total, 0))
    return total[0]


def halves(x: Tensor, dim: int) -> list[tuple[Tensor, Tensor]]:
    """Return pairs of views of `x`: adding the second to the first leaves the sum along `dim` in its first slice.

    Args:
        x: a tensor of any shape whose axis `dim` is not empty.
        dim: the axis to sum over.

    Returns:
        The pairs, in the order to add them; they can be reused each time `x` is refilled.
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
    for left, right in pairs:
        left.add_(right)


def stable_sqrt(x: Tensor) -> Tensor:
    """Compute the square root, correctly rounded as IEEE 754 requires; `torch.sqrt` is not where it calls MKL.

    Args:
        x: a tensor of any shape, float64, without negative numbers.

    Returns:
        The roots, in the same shape, float64.
    """
    roots = [math.sqrt(number) for number in x.flatten().tolist()]
    return torch.tensor(roots, dtype=x.dtype, device=x.device).reshape(x.shape)


def aligned_groups(
    blocks: Iterable[tuple[slice, Tensor]], total_rows: int, dtype: torch.dtype | None = torch.float64
) -> Iterator[tuple[slice, Tensor]]:
    """Regroup consecutive row blocks, so that sums over the groups do not depend on the size of the blocks.

    Args:
        blocks: (rows, block [rows, k]) in order, from row 0 without gaps; any floating dtype and block size.
        total_rows: the number of rows that the weight must have.
        dtype: the dtype of the groups; None for that of the blocks.

    Yields:
        (rows, group [≤ GROUP_ROWS, k]), each starting at a multiple of `GROUP_ROWS`.

    Raises:
        ValueError: the weight has another number of rows, the blocks are out of order, or a block and its slice differ
            in length.
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
        # A copy, because the caller may refill the same buffer.
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
