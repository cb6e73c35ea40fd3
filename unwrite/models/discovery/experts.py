"""Count the matrices that a parameter holds: one, or one per expert."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn

from unwrite.models.discovery.probes import Call, run_again

_CHANCE = 0.95  # a cut into blocks must need less than this share of the bits: a smaller saving is chance


def count_matrices(module: nn.Module, call: Call, parameter: nn.Parameter, axis: int, v: Tensor) -> int:
    """Count the matrices [d, k] that a parameter holds, given its hidden axis.

    Of three axes, the first that is not the hidden one counts experts. In two axes [E·k, d], experts may lie one after
    the other, which shows in the rows that each token uses.
    """
    others = [size for other, size in enumerate(parameter.shape) if other != axis]
    if not others:
        return 1
    if len(others) > 1:
        return others[0]
    return 1 if axis == 0 else count_blocks(_rows_used(module, call, parameter, v))


def _rows_used(module: nn.Module, call: Call, parameter: nn.Parameter, v: Tensor) -> Tensor:
    """Find the rows of a parameter [rows, d] that each token's output along v depends on: flags [tokens, rows]."""
    parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            written = run_again(module, call).reshape(-1, len(v)) @ v
            gradients = (torch.autograd.grad(token, parameter, retain_graph=True)[0] for token in written)
            return torch.stack([gradient.abs().amax(1) > 0 for gradient in gradients])
    finally:
        parameter.requires_grad_(False)


def count_blocks(used: Tensor) -> int:
    """Count the blocks of equal size (experts) that best explain which rows each token uses.

    A token uses some blocks, and most rows of those (an activation such as ReLU leaves some out); it uses no row of the
    other blocks. Of all ways to cut, take the one that describes the flags in the fewest bits: first which blocks each
    token uses, then which rows of those blocks.

    Example: two tokens and six rows.

        token 1:  1 1 1 0 0 0
        token 2:  0 0 0 1 0 1

        1 block of 6:   both use it (0 bits), 5 of its 12 flags are set (11.8 bits): 11.8
        2 blocks of 3:  2 of 4 blocks are used (4 bits), 5 of their 6 flags are set (3.9 bits): 7.9, the fewest
        3 blocks of 2:  4 of 6 blocks are used (5.5 bits), 5 of their 8 flags are set (7.6 bits): 13.1

    Args:
        used: flags, [tokens, rows].
    """
    rows = used.shape[1]
    lengths = {blocks: _description_length(used, blocks) for blocks in range(1, rows + 1) if rows % blocks == 0}
    best = min(lengths, key=lambda blocks: lengths[blocks])
    return best if lengths[best] < _CHANCE * lengths[1] else 1


def _description_length(used: Tensor, blocks: int) -> float:
    """Return how many bits describe which blocks each token uses, and which rows of the used ones."""
    rows = used.reshape(len(used), blocks, -1)
    used_blocks = rows.any(-1)
    return _bits(used_blocks) + _bits(rows[used_blocks])


def _bits(flags: Tensor) -> float:
    """Return the length of flags in an ideal code for their frequency p (Shannon 1948): n·H(p)."""
    if not flags.numel():
        return 0.0
    p = flags.double().mean()
    return float(flags.numel() * (torch.special.entr(p) + torch.special.entr(1 - p)) / log(2))
