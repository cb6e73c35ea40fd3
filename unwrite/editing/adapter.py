"""Save a recipe as a LoRA adapter that PEFT loads: its configuration and weights, the recipe, and a manifest."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from unwrite.editing.lora import AdaptedMatrix, AdaptedParameter, adapter_values
from unwrite.files.atomic import atomic_folder
from unwrite.files.checkpoints import stored_tensors
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.files.tensors import write_tensors
from unwrite.models.loading import load_config
from unwrite.models.peft import plan_adapter
from unwrite.schema.artifacts import Artifact, FileDigest, Recipe, as_json
from unwrite.schema.parsing import FORMAT
from unwrite.schema.paths import RECIPE
from unwrite.terms import NormPreservation

logger = logging.getLogger(__name__)

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_MANIFEST = "adapter.json"
_ROUNDING = 1e-6  # relative; the rounding of float32, with a margin


class AdapterManifest(Artifact):
    """`artifacts/adapter/adapter.json`: the base of the adapter, its approximation error, and its files."""

    format: Literal[2] = FORMAT
    base: str
    commit: str | None
    norm_preservation: NormPreservation
    largest_error: float
    parameters: list[AdaptedParameter]
    files: list[FileDigest]


def save_adapter(
    folder: Path,
    base_folder: Path,
    recipe: Recipe,
    directions: Mapping[str, Tensor],
    changes: Sequence[AdaptedMatrix],
    *,
    base_name: str,
    commit: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> AdapterManifest:
    """Write the adapter of a recipe; an earlier `folder` is replaced as a whole.

    PEFT's plan is checked before any weight is read, and nothing is written before all values are computed.

    Args:
        folder: the folder of the adapter.
        base_folder: the folder of the base model.
        recipe: from a search, or from `recipe.make_recipe`.
        directions: the tensors of directions.safetensors, `directions` and `baseline_mean`, each [P, L+1, d].
        changes: the parameters to adapt and their ranks, from `lora.planned_changes`.
        base_name: the name of the base model that PEFT shows: a hub id, or a folder.
        commit: its commit, if it is on the hub.
        advance: called with 1 after each parameter.

    Raises:
        UnwriteError: PEFT cannot adapt a parameter, the checkpoint lacks a tensor of the recipe, nothing changes at
            all, or the disk is full.
    """
    targets = [change.target for change in changes]
    plan = plan_adapter(load_config(base_folder), targets, source=base_name, revision=commit)
    values, adapted = adapter_values(changes, plan, stored_tensors(base_folder), directions, advance)
    with atomic_folder(folder) as unfinished:
        write_json(unfinished / ADAPTER_CONFIG, plan.config)
        write_tensors(unfinished / ADAPTER_WEIGHTS, values, {"base": base_name, "commit": commit})
        write_json(unfinished / RECIPE.name, as_json(recipe))
        manifest = AdapterManifest(
            base=base_name,
            commit=commit,
            norm_preservation=recipe.settings.norm_preservation,
            largest_error=max(parameter.relative_error for parameter in adapted),
            parameters=adapted,
            files=[digest_of(path) for path in sorted(unfinished.iterdir())],
        )
        write_json(unfinished / ADAPTER_MANIFEST, as_json(manifest))
    logger.info("%s; the adapter is in %s.", error_text(adapted), folder)
    return manifest


def error_text(adapted: Sequence[AdaptedParameter]) -> str:
    """Describe the size and the approximation error of an adapter in one line."""
    ranks = sorted({parameter.rank for parameter in adapted})
    rank_text = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    return f"{len(adapted)} parameters of rank {rank_text}; the adapter misses {_missed_text(adapted)}"


def _missed_text(adapted: Sequence[AdaptedParameter]) -> str:
    errors = [parameter.relative_error for parameter in adapted]
    if max(errors) <= _ROUNDING:
        return "nothing but rounding"
    return (
        f"{100 * statistics.median(errors):.2g} % of the change of a weight at the median, "
        f"{100 * max(errors):.2g} % at most"
    )
