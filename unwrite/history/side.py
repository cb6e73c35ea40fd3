"""One side of a comparison: directions, parameters and recipe, as far as they can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from unwrite.errors import UnwriteError
from unwrite.files.direction_tensors import wrong_directions
from unwrite.files.lfs_pointers import refuse_pointer
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.schema.artifacts import Recipe
from unwrite.schema.dotted_keys import flattened
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.parsing import parse_record
from unwrite.schema.paths import RECIPE
from unwrite.schema.safe_yaml import load_yaml

STAGE = "compute_directions"
"""The stage that makes the directions."""


class Side(NamedTuple):
    """One of two things that are compared.

    Attributes:
        name: as the user calls it: a revision, "the workspace", a path.
        commit: commit of a revision.
        tensors: `directions`, `target_mean` and `baseline_mean`, [P, L+1, d] each, float64; None if they are not there.
        parameters: by dotted key, without those that cannot change a result; None if unknown.
        whole: whether all parameters are known, or only those stored with the tensors.
        recipe: the recipe; None if there is none or it cannot be read.
        notes: what could not be read, and why, one sentence each without a period.
    """

    name: str
    commit: str | None
    tensors: Mapping[str, Tensor] | None
    parameters: Mapping[str, Any] | None
    whole: bool
    recipe: Recipe | None
    notes: Sequence[str] = ()


class StoredDirections(NamedTuple):
    """The tensors of a directions file, float64, and the settings they were computed with, if the file has them."""

    tensors: dict[str, Tensor]
    settings: dict[str, Any] | None


def read_directions(file: Path, name: str) -> StoredDirections:
    """Read a directions file.

    Args:
        file: the file.
        name: its name in errors.

    Raises:
        UnwriteError: the file is damaged, or holds something else.
        OSError: the file cannot be read.
    """
    refuse_pointer(file, name)
    try:
        tensors = read_tensors(file, STAGE)
    except UnwriteError:
        raise UnwriteError(
            f"{name} is damaged or not a safetensors file: expected the output of `dvc repro {STAGE}`."
        ) from None
    wrong = wrong_directions(tensors)
    if wrong is not None:
        raise UnwriteError(f"{name} {wrong}.")
    tensors = {name: tensor.double() for name, tensor in tensors.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise UnwriteError(f"{name} holds NaN or infinity: make it again with `dvc repro -f {STAGE}`.")
    try:
        return StoredDirections(tensors, read_metadata(file, STAGE))
    except UnwriteError:
        return StoredDirections(tensors, None)


def build_side(
    name: str,
    commit: str | None,
    *,
    directions: StoredDirections | None,
    recipe: bytes | None,
    params: bytes | None,
    notes: Sequence[str] = (),
) -> Side:
    """Build a side from what could be read of it.

    Args:
        name: as the user calls it.
        commit: commit of a revision.
        directions: the directions file.
        recipe: content of edit.json.
        params: content of params.yaml; without it, the parameters are those stored with the tensors.
        notes: what could not be read so far.
    """
    parameters, wrong_params = _parameters(params, name)
    whole = parameters is not None
    if parameters is None and directions is not None and directions.settings:
        parameters = flattened({"directions": directions.settings})
    unknown = [f"the parameters of {name} are unknown"] if parameters is None else []
    parsed, wrong_recipe = _recipe(recipe, name)
    tensors = None if directions is None else directions.tensors
    return Side(name, commit, tensors, parameters, whole, parsed, [*notes, *wrong_params, *unknown, *wrong_recipe])


def _parameters(params: bytes | None, name: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return everything in a params.yaml that can change a result, and notes.

    It is not validated: the file of an earlier revision may break today's schema.
    """
    if params is None:
        return None, []
    try:
        sections = load_yaml(params.decode("utf-8-sig"))
    except ValueError:  # not UTF-8, or not YAML
        sections = None
    if not isinstance(sections, Mapping):
        return None, [f"{PARAMS_FILE} of {name} is not a YAML mapping"]
    return flattened({section: values for section, values in sections.items() if section != "runtime"}), []


def _recipe(recipe: bytes | None, name: str) -> tuple[Recipe | None, list[str]]:
    """Return the recipe, or None and why recipes cannot be compared: it may be of an earlier format."""
    if recipe is None:
        return None, [f"{name} has no {RECIPE.name}, so recipes cannot be compared"]
    try:
        return parse_record(Recipe, recipe, f"{RECIPE.name} of {name}"), []
    except UnwriteError as error:
        return None, [f"{error}; recipes cannot be compared"]
