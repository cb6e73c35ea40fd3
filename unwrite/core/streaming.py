"""Norms and sums of a weight that is read in blocks, a few float64 numbers at a time, in buffers that are reused.

The buffers change no result. Each sum is that of `reproducible`, in the same order, however many numbers are held at
once: rows are summed one by one, and the sum of a column never depends on the columns held with it.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unwrite.core.reproducible import add_up, halves, stable_sqrt

CACHED = 1 << 17
"""Numbers held in float64 at once: few enough that two buffers of them fit in a processor's cache (2 MB), and enough
that an operation on them takes longer than handing the GIL from thread to thread."""

Halves = list[tuple[Tensor, Tensor]]
"""The result of `reproducible.halves`: adding the second of each pair to the first sums a buffer."""


class Workspace:
    """Float64 buffers on one device, one per shape and purpose, refilled by every block of a weight.

    Allocating them for each block would take longer than filling them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._buffers: dict[tuple[int, int], Tensor] = {}
        self._sums: dict[tuple[int, int, int], tuple[Tensor, Halves]] = {}

    def buffer(self, shape: tuple[int, int]) -> Tensor:
        """Return the buffer of a shape.

        Args:
            shape: (rows, columns).

        Returns:
            A buffer of that shape, float64, the same one on every call; it still holds the values of its last use.
        """
        if shape not in self._buffers:
            self._buffers[shape] = torch.zeros(shape, dtype=torch.float64, device=self.device)
        return self._buffers[shape]

    def summed_buffer(self, shape: tuple[int, int], dim: int) -> tuple[Tensor, Halves]:
        """Return a second buffer of a shape, to be summed along one axis.

        Args:
            shape: (rows, columns).
            dim: the axis to sum over.

        Returns:
            (buffer, halves), the same ones on every call: `add_up(halves)` leaves the sum in the buffer's first slice
            along `dim`.
        """
        key = (*shape, dim)
        if key not in self._sums:
            numbers = torch.zeros(shape, dtype=torch.float64, device=self.device)
            self._sums[key] = numbers, halves(numbers, dim)
        return self._sums[key]


def lines_at_once(length: int, block: Tensor) -> int:
    """Return how many rows (or columns) of this length are held at once: all of them on an accelerator."""
    return max(1, CACHED // length) if block.device.type == "cpu" else block.numel()


def row_chunks(block: Tensor, rows: slice) -> Iterator[tuple[slice, Tensor]]:
    """Split a block into chunks of rows that are held at once.

    Args:
        block: some rows of a weight, [rows, k].
        rows: their indices.

    Yields:
        (rows, chunk [rows, k]), in order, all but the last of the same length.
    """
    start = rows.start
    for chunk in torch.split(block, lines_at_once(block.shape[1], block)):
        yield slice(start, start + len(chunk)), chunk
        start += len(chunk)


def chunk_shape(block: Tensor) -> tuple[int, int]:
    """Return the shape of a buffer that holds any chunk of `row_chunks`."""
    return min(lines_at_once(block.shape[1], block), len(block)), block.shape[1]


def row_norms(block: Tensor, workspace: Workspace) -> Tensor:
    """Compute the norm of each row, summed in the fixed order.

    Args:
        block: some rows of a weight, [rows, k], any floating dtype.
        workspace: buffers on the block's device.

    Returns:
        The norms, [rows], float64.
    """
    squares, pairs = workspace.summed_buffer(chunk_shape(block), 1)
    sums = []
    for _, chunk in row_chunks(block, slice(0, len(block))):
        numbers = squares[: len(chunk)].copy_(chunk)
        numbers.mul_(numbers)
        add_up(pairs)
        sums.append(numbers[:, 0].clone())
    return stable_sqrt(torch.cat(sums))


def column_sums(group: Tensor, term: Callable[[Tensor, slice], object], workspace: Workspace) -> Tensor:
    """Sum a term of every number over the rows of a group, in the fixed order.

    Args:
        group: a few rows of a weight, [rows, k], any floating dtype; all of them are held at once.
        term: overwrites numbers [rows, n], a float64 copy of some columns, with their terms; its second argument is the
            indices of the columns.
        workspace: buffers on the group's device.

    Returns:
        The sums, [k], float64.
    """
    rows, k = group.shape
    step = lines_at_once(rows, group)
    numbers, pairs = workspace.summed_buffer((rows, min(step, k)), 0)
    sums = numbers.new_empty(k)
    for start in range(0, k, step):
        columns = slice(start, min(start + step, k))
        terms = numbers[:, : columns.stop - start]
        term(terms.copy_(group[:, columns]), columns)
        add_up(pairs)
        sums[columns] = terms[0]
    return sums


def weigh(weights: Tensor, numbers: Tensor, _columns: slice) -> None:
    """Multiply each row of the numbers by its weight, [rows, 1]; a term of `column_sums`."""
    numbers.mul_(weights)


def square(numbers: Tensor, _columns: slice) -> None:
    """Square the numbers; a term of `column_sums`."""
    numbers.mul_(numbers)


def square_edited(a: Tensor, s: Tensor, numbers: Tensor, columns: slice) -> None:
    """Square the numbers after the edit W − a s, with a [rows, 1] and s [k]; a term of `column_sums`."""
    numbers.sub_(a * s[columns])
    numbers.mul_(numbers)
