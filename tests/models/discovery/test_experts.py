"""Experts are counted by the rows that each token uses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unwrite.models.discovery import experts
from unwrite.models.discovery.experts import count_blocks, count_matrices
from unwrite.models.discovery.probes import Call

EXAMPLE = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 1]]).bool()


def test_example_in_the_docstring_is_right() -> None:
    lengths = [round(experts._description_length(EXAMPLE, blocks), 1) for blocks in (1, 2, 3)]
    assert lengths == [11.8, 7.9, 13.1]
    assert count_blocks(EXAMPLE) == 2


def routed(blocks: int, size: int, share_used: float, tokens: int = 64) -> Tensor:
    """Return the flags of tokens that use two blocks each, and a random share of the rows in those blocks."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.rand(tokens, blocks, generator=generator).topk(2).indices
    blocks_used = torch.zeros(tokens, blocks).scatter(1, chosen, 1.0).bool()
    rows_used = torch.rand(tokens, blocks, size, generator=generator) < share_used
    return (blocks_used[..., None] & rows_used).flatten(1)


@pytest.mark.parametrize(("blocks", "size"), [(4, 6), (6, 8), (8, 5)])
@pytest.mark.parametrize("share_used", [1.0, 0.5])
def test_blocks_are_counted_even_if_their_activation_leaves_rows_out(blocks: int, size: int, share_used: float) -> None:
    assert count_blocks(routed(blocks, size, share_used)) == blocks


@pytest.mark.parametrize("share_used", [0.0, 0.5, 1.0])
def test_rows_used_at_random_are_one_block(share_used: float) -> None:
    generator = torch.Generator().manual_seed(1)
    assert count_blocks(torch.rand(64, 24, generator=generator) < share_used) == 1


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [((4,), 0, 1), ((4, 6), 0, 1), ((3, 4, 6), 1, 3), ((3, 6, 4), 2, 3), ((4, 3, 6), 0, 3)],
)
def test_module_is_not_run_where_the_shape_decides(shape: tuple[int, ...], axis: int, expected: int) -> None:
    call = Call((), {}, torch.empty(0))
    assert count_matrices(nn.Identity(), call, nn.Parameter(torch.empty(shape)), axis, torch.ones(4)) == expected


def test_transposed_matrix_is_one_matrix() -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(2)), False)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    module, x = Transposed(), torch.randn(5, 6, generator=torch.Generator().manual_seed(3))
    call = Call((x,), {}, module(x))
    assert count_matrices(module, call, module.weight, 1, torch.ones(4)) == 1
    assert not module.weight.requires_grad
