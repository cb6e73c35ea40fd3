"""The checks of a release's recipe: readable, consistent, and what the manifest declares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from unwrite.core.kernel import kernel_weight
from unwrite.editing.recipe import layer_direction
from unwrite.errors import UnwriteError, reason_of
from unwrite.files.checkpoints import stored_tensors
from unwrite.release.file_checks import Check, checked
from unwrite.release.manifest import tensor_edits
from unwrite.release.untrusted import is_plain_file
from unwrite.schema.artifacts import DirectionRef, Edit, EditSettings, Recipe, biases_of
from unwrite.schema.parsing import parse_record
from unwrite.schema.paths import DIRECTIONS, EVALUATION, RECIPE

if TYPE_CHECKING:
    from torch import Tensor

    from unwrite.release.statement import Manifest

_ARTIFACTS = {RECIPE.name, DIRECTIONS.name, EVALUATION.name}


class RecipeFiles(NamedTuple):
    """The recipe of a release and its directions."""

    recipe: Recipe
    directions: Mapping[str, Tensor]


def read_recipe(release: Path) -> tuple[RecipeFiles | None, list[str]]:
    """Read the recipe and the directions of a release.

    Returns:
        (both, []); or (None, problems) if one of them is missing or damaged.
    """
    from unwrite.files.direction_tensors import wrong_directions
    from unwrite.files.tensors import read_tensors

    missing = [path.name for path in (RECIPE, DIRECTIONS) if not is_plain_file(release, path.name)]
    if missing:
        return None, [f"{name} is missing" for name in missing]
    try:
        recipe = parse_record(Recipe, (release / RECIPE.name).read_bytes(), RECIPE.name)
    except UnwriteError as error:
        return None, [str(error)]
    try:
        directions = read_tensors(release / DIRECTIONS.name, "publish")
    except (OSError, UnwriteError):
        return None, [f"{DIRECTIONS.name} is damaged"]
    wrong = wrong_directions(directions)
    if wrong is not None:
        return None, [f"{DIRECTIONS.name} {wrong}"]
    return RecipeFiles(recipe, directions), []


def check_recipe(recipe: RecipeFiles | None, unreadable: Iterable[str]) -> Check:
    """Check that the recipe can be read, and that each edit follows from its own parameters and settings."""
    problems = unreadable if recipe is None else _inconsistent(recipe.recipe)
    return checked("recipe", f"{RECIPE.name} and {DIRECTIONS.name}", problems)


def _inconsistent(recipe: Recipe) -> Iterator[str]:
    if not recipe.edits:
        yield "it edits nothing"
    for edit in recipe.edits:
        name = edit.matrix.parameter
        try:
            expected = kernel_weight(edit.layer, **getattr(recipe.parameters, edit.component).model_dump())
            direction = layer_direction(recipe.parameters, recipe.settings, edit.layer)
        except ValueError as error:
            yield f"its parameters are invalid: {error}"
            return
        if not math.isclose(edit.strength, expected, rel_tol=1e-9):
            yield f"{name} has strength {edit.strength:.6g}, but the kernel of its parameters gives {expected:.6g}"
        if edit.direction != direction:
            given = "none" if direction is None else _described(direction)
            yield f"{name} has direction {_described(edit.direction)}, but its parameters give {given}"
        yield from (f"{name} is edited with {setting}" for setting in _contradicted(edit, recipe.settings))


def _contradicted(edit: Edit, settings: EditSettings) -> Iterator[str]:
    if biases_of(edit) and not settings.edit_bias:
        yield "a bias, but edit_bias is false"
    if edit.norms and settings.post_norm == "ignore":
        yield "norms, but post_norm is ignore"


def _described(direction: DirectionRef) -> str:
    against = direction.orthogonalize_to
    again = "" if against is None else f", orthogonalized to {against}"
    return f"{direction.index:.6g} at position {direction.position}{again}"


def check_manifest(release: Path, manifest: Manifest, recipe: RecipeFiles | None, sums: Mapping[str, str]) -> Check:
    """Check that the manifest declares what the recipe edits, and lists the checkpoint's tensors."""
    undeclared = ["no recipe to compare it with"] if recipe is None else _undeclared(manifest, recipe.recipe)
    problems = [*undeclared, *_unlisted_tensors(manifest, release), *_replaced(manifest, sums)]
    return checked("manifest", "it declares what the recipe and the checkpoint contain", problems)


def _undeclared(manifest: Manifest, recipe: Recipe) -> Iterator[str]:
    declared = {name: edit for name, edit in manifest.internal.tensors.items() if edit is not None}
    edits = tensor_edits(recipe)
    declared_settings = manifest.internal.settings.model_dump()
    for name, value in recipe.settings.model_dump().items():
        if declared_settings[name] != value:
            yield f"{name} is {declared_settings[name]} in the manifest, {value} in {RECIPE.name}"
    for name in sorted(declared.keys() | edits.keys()):
        if name not in edits:
            yield f"{name} is declared as edited, but {RECIPE.name} does not edit it"
        elif name not in declared:
            yield f"{name} is edited by {RECIPE.name}, but not declared"
        elif declared[name] != edits[name]:
            yield f"{name} is declared with a different edit than in {RECIPE.name}"


def _unlisted_tensors(manifest: Manifest, release: Path) -> Iterator[str]:
    try:
        stored = stored_tensors(release).keys()
    except UnwriteError as error:
        yield reason_of(error)
        return
    listed = manifest.internal.tensors.keys()
    yield from (f"{name} is in the checkpoint, but not in the manifest" for name in sorted(stored - listed))
    yield from (f"{name} is in the manifest, but not in the checkpoint" for name in sorted(listed - stored))


def _replaced(manifest: Manifest, sums: Mapping[str, str]) -> Iterator[str]:
    """Yield the files of a release that are not the artifacts of the same name that it was made with."""
    made = {PurePosixPath(one.name).name: one.digest.get("sha256") for one in manifest.dependencies("artifact")}
    for name in sorted(_ARTIFACTS & made.keys() & sums.keys()):
        if sums[name] != made[name]:
            yield f"{name} is not the file that the release was made with"
