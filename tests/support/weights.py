"""Writers with small random weights and stored directions, for comparing edits with dense formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from tests.support.samples import sample_direction, sample_edit, sample_layout, sample_writer
from tests.support.tiny import random_direction
from unwrite.editing.blocks import blocks_in_memory
from unwrite.editing.edit_cache import EditCache
from unwrite.schema.artifacts import DirectionRef, Edit, Norm, Writer
from unwrite.terms import NormPreservation

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
LAYERS, D, K, POSITIONS = 4, 12, 7, 2
REFERENCES = [
    sample_direction(2.0),
    sample_direction(1.37),
    sample_direction(3.999, position=1),
    sample_direction(float(LAYERS)),
    sample_direction(2.6, orthogonalize_to=1),
    sample_direction(1.2, position=1, orthogonalize_to=4),
]


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


DIRECTIONS = torch.stack([random_direction(D, seed) for seed in range(POSITIONS * (LAYERS + 1))]).reshape(
    POSITIONS, LAYERS + 1, D
)
MEANS = 5 * normal(POSITIONS, LAYERS + 1, D, seed=99)
PARAMETERS: Mapping[str, Tensor] = {
    "0.mlp.weight": normal(D, K, seed=1),
    "transposed": normal(K, D, seed=2),
    "experts": normal(3, D, K, seed=3),
    "bias": normal(D, seed=4),
    "norm": normal(D, seed=5),
}
GAMMA = Norm(parameter="norm", tensor="norm", offset=1.0)
PLAIN = sample_writer()
TRANSPOSED = sample_writer(matrix=sample_layout("transposed", 1), bias=sample_layout("bias"))
NORMED = sample_writer(norms=[GAMMA])
EXPERTS = sample_writer(matrix=sample_layout("experts", 1, 3), norms=[GAMMA])


def cache_in_memory(
    mode: NormPreservation, directions: Tensor = DIRECTIONS, parameters: Mapping[str, Tensor] = PARAMETERS
) -> EditCache:
    """An empty cache that reads the weights from memory."""
    return EditCache(partial(blocks_in_memory, parameters), parameters, mode, directions, MEANS)


def edits_of(writer: Writer, references: Sequence[DirectionRef] = REFERENCES) -> list[Edit]:
    """One edit of the writer per direction, of increasing strength."""
    return [sample_edit(writer, 0.6 + 0.15 * place, reference) for place, reference in enumerate(references)]
