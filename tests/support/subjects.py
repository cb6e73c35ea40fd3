"""Models of the zoo in float64, saved and loaded again, to edit in several ways and compare."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import torch
from torch import Tensor, nn

from tests.support.architectures import written_by
from tests.support.samples import sample_direction, sample_edit
from tests.support.tiny import random_direction
from tests.support.zoo import zoo_model
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.schema.artifacts import Edit, Writer
from unwrite.terms import NormPreservation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
STRENGTHS = (1.0, 0.7, 1.3)
TOKENS = torch.tensor([[3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16]])
DIRECTIONS = torch.stack([random_direction(32, seed) for seed in range(4)]).unsqueeze(0)
MEANS = torch.stack([random_direction(32, seed) for seed in range(10, 14)]).unsqueeze(0)


class Subject(NamedTuple):
    """A model of the zoo in float64, its writers, and the checkpoint it was saved to."""

    model: PreTrainedModel
    writers: list[Writer]
    folder: Path

    def logits(self) -> Tensor:
        return logits(self.model)


def logits(model: nn.Module) -> Tensor:
    """The logits of two short prompts, in float64 throughout."""
    with float64_throughout(), torch.no_grad():
        found: Tensor = model(input_ids=TOKENS, use_cache=False).logits
    assert found.dtype == torch.float64
    return found


@functools.cache
def subject(name: str, folder: Path) -> Subject:
    """A model of the zoo, saved to `folder` and loaded from there; made once."""
    zoo_model(name, torch.float64).save_pretrained(folder / name)
    model = loaded(folder / name)
    return Subject(model, written_by(name, model), folder / name)


def loaded(folder: Path) -> PreTrainedModel:
    """A saved model in float64, experts one by one."""
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager"
    )
    return model.requires_grad_(False)


def edits_of_writers(
    writers: Sequence[Writer], strength: float, *, bias: bool = True, norms: bool = True
) -> list[Edit]:
    """One edit per writer, each with a direction of its layer; the strengths differ between components."""
    factor = {"attention": 1.0, "mlp": 0.9}
    left_out: dict[str, object] = ({} if bias else {"bias": None}) | ({} if norms else {"norms": []})
    return [
        sample_edit(
            writer, strength * factor[writer.component], sample_direction(writer.layer + 0.5, orthogonalize_to=1)
        ).model_copy(update=left_out)
        for writer in writers
    ]
