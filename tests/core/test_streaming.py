"""Sums of a weight in chunks: the bytes of sums over the whole, in buffers that are reused."""

from functools import partial

import pytest
import torch

from unwrite.core import streaming
from unwrite.core.reproducible import stable_sqrt, stable_sum
from unwrite.core.streaming import Workspace, chunk_shape, column_sums, row_chunks, row_norms

CPU = torch.device("cpu")
WEIGHT = torch.randn(13, 37, generator=torch.Generator().manual_seed(0)).bfloat16()


@pytest.fixture(params=[1, 40, 100, 1 << 18])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of numbers held at once: less than a row, one row, a few rows, and all."""
    monkeypatch.setattr(streaming, "CACHED", request.param)
    return int(request.param)


def test_row_norms_are_those_of_the_whole(held: int) -> None:
    expected = stable_sqrt(stable_sum(WEIGHT.double() ** 2, 1))
    workspace = Workspace(CPU)
    for _ in range(2):  # the second time in buffers that hold old values
        assert torch.equal(row_norms(WEIGHT, workspace), expected)


def test_column_sums_are_those_of_the_whole(held: int) -> None:
    a, s = torch.linspace(-1, 1, 13).double().unsqueeze(1), torch.linspace(1, 2, 37).double()
    wide, workspace = WEIGHT.double(), Workspace(CPU)
    for _ in range(2):
        assert torch.equal(column_sums(WEIGHT, streaming.square, workspace), stable_sum(wide * wide, 0))
        assert torch.equal(column_sums(WEIGHT, partial(streaming.weigh, a), workspace), stable_sum(a * wide, 0))
        edited = wide - a * s
        term = partial(streaming.square_edited, a, s)
        assert torch.equal(column_sums(WEIGHT, term, workspace), stable_sum(edited * edited, 0))
    assert not torch.equal(stable_sum(wide * wide, 0), stable_sum(edited * edited, 0))


def test_chunks_are_the_rows_in_order_and_fit_their_buffer(held: int) -> None:
    actual = list(row_chunks(WEIGHT, slice(20, 33)))
    assert torch.equal(torch.cat([chunk for _, chunk in actual]), WEIGHT)
    assert [row for rows, _ in actual for row in range(rows.start, rows.stop)] == list(range(20, 33))
    most, width = chunk_shape(WEIGHT)
    assert width == 37
    assert max(len(chunk) for _, chunk in actual) == most
    assert most * width <= max(held, width)


def test_a_buffer_is_reused_for_one_purpose_only() -> None:
    workspace = Workspace(CPU)
    buffer = workspace.buffer((3, 4))
    assert workspace.buffer((3, 4)) is buffer
    by_rows, by_columns = (workspace.summed_buffer((3, 4), dim)[0] for dim in (0, 1))
    assert workspace.summed_buffer((3, 4), 0)[0] is by_rows
    assert len({tensor.data_ptr() for tensor in (buffer, by_rows, by_columns, workspace.buffer((4, 3)))}) == 4
