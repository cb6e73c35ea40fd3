"""The check of a release's directions: they follow from the means beside them, and the file holds nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unwrite.errors import UnwriteError
from unwrite.files.safetensors import read_metadata_entries
from unwrite.release.file_checks import Check, checked
from unwrite.release.recipe_checks import RecipeFiles
from unwrite.schema.params import Directions
from unwrite.schema.parsing import first_error
from unwrite.schema.paths import DIRECTIONS, RECIPE
from unwrite.schema.strict_json import strict_json

if TYPE_CHECKING:
    from torch import Tensor

    from unwrite.release.statement import Manifest

_ROUNDING = 2.0**-22  # of a mean stored as float32, with room for a few such roundings
_NEGLIGIBLE = 2e-6  # twice the share up to which a difference is no direction
_UNIT = 1e-5
_LISTED = 3


def check_directions(release: Path, manifest: Manifest, recipe: RecipeFiles | None) -> Check:
    """Check that directions.safetensors holds the means, what follows from them, and no more.

    The means themselves come from forward passes, which only the pipeline repeats.
    """
    if recipe is None:
        return checked("directions", "cannot be read", [f"{DIRECTIONS.name} or {RECIPE.name} cannot be read"])
    tensors = recipe.directions
    declared = manifest.external.parameters
    positions = len(tensors["directions"])
    wanted = declared.get("residuals", {}).get("positions")
    problems = [*_header_problems(release / DIRECTIONS.name, declared, recipe.recipe.settings.orthogonalize)]
    if isinstance(wanted, list) and len(wanted) != positions:
        problems.append(f"it holds {positions} positions, but residuals.positions lists {len(wanted)}")
    problems += _value_problems(tensors, orthogonalized=recipe.recipe.settings.orthogonalize != "none")
    used = recipe.recipe.parameters.position
    notes = [] if positions == 1 else [f"{positions} positions; the edit uses position {used}"]
    return checked("directions", "they follow from the means beside them", problems, notes)


def _header_problems(file: Path, declared: Mapping[str, Mapping[str, Any]], orthogonalize: str) -> Iterator[str]:
    """Yield what the header holds besides the three tensors and the settings they were computed with."""
    try:
        metadata, is_plain = read_metadata_entries(file)
        settings = strict_json(metadata.pop("unwrite", "{}"))
    except (UnwriteError, ValueError, RecursionError):
        yield "its metadata cannot be read"
        return
    if metadata or not is_plain:
        yield "its header holds more than its tensors and their settings"
    if settings == {}:
        return
    try:
        stated = Directions.model_validate(settings).model_dump(mode="json")
    except ValidationError as error:
        yield f"its metadata does not state how it was computed ({first_error(error)})"
        return
    if settings["orthogonalize"] != orthogonalize:
        yield f"it was orthogonalized as {settings['orthogonalize']!r}, but {RECIPE.name} says {orthogonalize!r}"
    if json.dumps(stated) != json.dumps(declared.get("directions", stated)):
        yield "it was computed with other settings than the manifest's parameters"


def _value_problems(tensors: Mapping[str, Tensor], *, orthogonalized: bool) -> Iterator[str]:
    import torch

    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        yield "its tensors must be float32"
        return
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        yield "it holds values that are NaN or infinite"
        return
    directions = tensors["directions"].double()
    norms = directions.norm(dim=-1)
    wrong_length = (norms != 0) & ((norms - 1).abs() > _UNIT)
    yield from _at(wrong_length, "is neither a unit vector nor zero")
    follows = follows_from_means(directions, tensors["target_mean"], tensors["baseline_mean"], orthogonalized)
    yield from _at(~follows & ~wrong_length, "does not follow from the means")


def follows_from_means(directions: Tensor, target: Tensor, baseline: Tensor, orthogonalized: bool) -> Tensor:
    """Return where directions are what two means give, to the rounding of the means to float32.

    Args:
        directions: unit vectors or zero, [P, L+1, d].
        target: μ_target, [P, L+1, d].
        baseline: μ_baseline, [P, L+1, d].
        orthogonalized: whether the directions are orthogonal to μ_baseline.

    Returns:
        [P, L+1], bool.
    """
    target, baseline = target.double(), baseline.double()
    size = target.norm(dim=-1) + baseline.norm(dim=-1)
    difference = target - baseline
    rest = difference
    if orthogonalized:
        unit = baseline / baseline.norm(dim=-1, keepdim=True).clamp_min(1e-300)
        rest = difference - (difference * unit).sum(-1, keepdim=True) * unit
    length = rest.norm(dim=-1)
    uncertain = _ROUNDING * size
    expected = rest / length.clamp_min(1e-300).unsqueeze(-1)
    close = (directions - expected).norm(dim=-1) <= 1e-6 + uncertain / length.clamp_min(1e-300)
    may_be_zero = (length <= uncertain) | (
        (difference.norm(dim=-1) <= _NEGLIGIBLE * baseline.norm(dim=-1))
        | (length <= _NEGLIGIBLE * difference.norm(dim=-1))
    )
    follows: Tensor = ((length > uncertain) & close) | (may_be_zero & (directions == 0).all(-1))
    return follows


def _at(wrong: Tensor, what: str) -> Iterator[str]:
    places = wrong.nonzero().tolist()
    yield from (f"the direction at position {p}, residual index {i} {what}" for p, i in places[:_LISTED])
    if len(places) > _LISTED:
        yield f"and {len(places) - _LISTED} more directions: each {what}"
