"""The slots of a LoRA adapter: how PEFT lays out the factors of one parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Slot(NamedTuple):
    """The place in an adapter for the factors P [d, rank] and Q [rank, k] of each matrix of one parameter."""

    name: str
    """The prefix of its tensors' names."""
    rank: int
    """The rank that PEFT expects; smaller factors are padded with zeros."""
    hidden_last: bool
    """Whether PEFT's B holds P and its A holds Q; otherwise A holds P transposed and B holds Q transposed."""
    bias: int
    """Length of the bias that PEFT expects; 0 for none."""


def slot_tensors(slot: Slot, factors: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None) -> dict[str, Tensor]:
    """Lay out the factors of one parameter as PEFT's tensors, by name.

    Args:
        slot: the place in the adapter.
        factors: P [d, rank] and Q [rank, k] of each of the parameter's matrices, in its order.
        bias: the change of the bias, [d].

    Returns:
        PEFT's A [num_matrices · rank, in], B [out, rank · num_matrices], and the bias if the slot has one; the tensors
        share no memory.
    """
    sides = [(Q, P) if slot.hidden_last else (P.T, Q.T) for P, Q in factors]  # [rank, in] and [out, rank]
    padded = [(_pad(A, slot.rank), _pad(B.T, slot.rank).T) for A, B in sides]
    B = torch.stack([B for _, B in padded], dim=-1)
    tensors = {
        f"{slot.name}.lora_A.weight": torch.cat([A for A, _ in padded]),
        f"{slot.name}.lora_B.weight": B.reshape(len(B), -1),
    }
    if slot.bias:
        tensors[f"{slot.name}.lora_B.bias"] = torch.zeros(slot.bias) if bias is None else bias.clone()
    return tensors


def _pad(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])
