"""Sides of a comparison, made to differ in what a test names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.support.samples import sample_edit, sample_recipe, sample_writer
from unwrite.files.tensors import write_tensors
from unwrite.history.diff import RevisionComparison, compare
from unwrite.history.side import Side
from unwrite.schema.artifacts import Edit, Recipe

DIRECTIONS = "artifacts/directions.safetensors"
STORED = {"directions.winsorize.quantile": 0.995, "directions.center": "mean"}
PARAMETERS = {"residuals.positions": [-1], **STORED}


def tensors(shape: Sequence[int] = (1, 3, 4), seed: int = 0) -> dict[str, Tensor]:
    """Means, and the unit vectors between them."""
    generator = torch.Generator().manual_seed(seed)
    target, baseline = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    directions = torch.nn.functional.normalize(target - baseline, dim=-1)
    return {"directions": directions, "target_mean": target, "baseline_mean": baseline}


def side(name: str = "one", **changes: Any) -> Side:
    """A side that knows everything."""
    fields: dict[str, Any] = {
        "name": name,
        "commit": None,
        "tensors": tensors(),
        "parameters": PARAMETERS,
        "whole": True,
        "recipe": recipe(),
    }
    return Side(**fields | changes)


def recipe(*edits: Edit, **changes: Any) -> Recipe:
    """A recipe of two writers."""
    return sample_recipe(edits or [sample_edit(sample_writer(layer)) for layer in range(2)], **changes)


def changed(**changes: Any) -> RevisionComparison:
    """One side against another with these changes."""
    return compare(side(), side("other", **changes))


def vectors(value: float, shape: tuple[int, ...] = (1, 3, 4)) -> dict[str, Tensor]:
    """Tensors of a directions file, told apart by their value."""
    return {
        name: torch.full(shape, float(value + i))
        for i, name in enumerate(("directions", "target_mean", "baseline_mean"))
    }


def write_directions(path: Path, value: float, **settings: Any) -> None:
    """A directions file."""
    write_tensors(path, vectors(value), settings)


def write_state(folder: Path, value: float, quantile: float) -> None:
    """Directions, parameters and a recipe."""
    write_directions(folder / DIRECTIONS, value, winsorize={"quantile": quantile})
    params = f"directions:\n  winsorize:\n    quantile: {quantile}\nruntime:\n  threads: {value:.0f}\n"
    (folder / "params.yaml").write_text(params)
    recipe = sample_recipe([sample_edit(sample_writer(), value)])
    (folder / "artifacts/edit.json").write_text(recipe.model_dump_json())
