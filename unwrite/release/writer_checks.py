"""The check that a release edits residual writers, all those that its parameters name, and nothing else.

The writers are found from the base's configuration, as when a model is pinned: no declared name is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from unwrite.editing.recipe import build_edits
from unwrite.errors import UnwriteError, reason_of
from unwrite.files.checkpoints import stored_tensors
from unwrite.release.file_checks import Check, checked, not_checked
from unwrite.release.recipe_checks import RecipeFiles
from unwrite.schema.artifacts import Edit, Writer, biases_of
from unwrite.schema.paths import DIRECTIONS, RECIPE

if TYPE_CHECKING:
    from unwrite.release.statement import Manifest

WRITERS = "residual writers"


class FoundWriters(NamedTuple):
    """The writers of a base, its number of layers, what cannot be edited exactly, and what is stored but not run."""

    writers: Sequence[Writer]
    layers: int
    incomplete: Sequence[str]
    not_run: Sequence[str] = ()


def find_base_writers(base: Path | None) -> FoundWriters | str:
    """Find the writers of a base model, or return why they are not known."""
    if base is None:
        return "needs the base"
    try:
        from unwrite.models.discovery.writers import find_writers
        from unwrite.models.loading import load_config
        from unwrite.models.unrun import unrun_modules
        from unwrite.pipeline.pinning import locate_writers
    except ModuleNotFoundError as error:
        return f"needs {error.name}"
    try:
        config = load_config(base)
        discovery = find_writers(config, padding=False)
        tensors = stored_tensors(base)
        writers = locate_writers(discovery.writers, config, tensors)
        not_run = unrun_modules(config, {name: tensor.shape for name, tensor in tensors.items()})
    except ModuleNotFoundError as error:
        return f"needs {error.name}"
    except UnwriteError as error:
        return f"the base's writers are not known: {reason_of(error)}"
    return FoundWriters(writers, discovery.layers, discovery.incomplete, not_run)


def check_writers(found: FoundWriters | str, manifest: Manifest, recipe: RecipeFiles | None) -> Check:
    """Check that the edits are those of the base's residual writers that the parameters give."""
    if isinstance(found, str) or recipe is None:
        return not_checked(WRITERS, found if isinstance(found, str) else "needs a valid recipe")
    problems: list[str] = []
    indices = recipe.directions["directions"].shape[1]
    if indices != found.layers + 1:
        problems.append(f"{DIRECTIONS.name} holds {indices} residual indices, but the base has {found.layers} layers")
    if bool(found.incomplete) != bool(manifest.internal.incomplete):
        stated = "complete" if found.incomplete else "incomplete"
        problems.append(f"the manifest calls the edit {stated}, but discovery does not")
    try:
        expected = _by_tensor(build_edits(recipe.recipe.parameters, found.writers, recipe.recipe.settings))
    except ValueError as error:
        return checked(WRITERS, "", [*problems, f"the parameters are invalid: {error}"])
    known = _by_tensor(found.writers)
    actual = _by_tensor(recipe.recipe.edits)
    problems += [f"{name} is not a residual writer of the base" for name in actual if name not in known]
    unasked = [name for name in actual if name in known and name not in expected]
    problems += [f"{name} is a writer that the parameters do not edit" for name in unasked]
    problems += [f"{name} is left out, but the parameters edit it" for name in expected.keys() - actual.keys()]
    both = [name for name in actual if name in expected]
    problems += [text for name in both for text in _differences(name, actual[name].facts, expected[name].facts)]
    notes = {text for name in both for text in _renamed(actual[name], expected[name])}
    unstated = [name for name in found.not_run if name not in manifest.internal.not_run]
    notes |= {f"{name} is stored and not run, so not edited; the manifest does not say so" for name in unstated}
    if both != [name for name in expected if name in actual]:
        notes.add(f"not checked: the order of edits in {RECIPE.name}, which is another than this transformers gives")
    about = f"{len(actual)} edited tensors, each found in the base's architecture"
    return checked(WRITERS, about, problems, sorted(notes))


class _Place(NamedTuple):
    """What an edit says of one stored tensor: facts of the checkpoint, and names in memory."""

    facts: dict[str, Any]
    names: dict[str, Any]


def _by_tensor(edits: Sequence[Edit] | Sequence[Writer]) -> dict[str, _Place]:
    places = {}
    for edit in edits:
        facts: dict[str, Any] = {"layer": edit.layer, "component": edit.component}
        if isinstance(edit, Edit):
            facts |= {"strength": edit.strength, "direction": edit.direction}
        biases = (("bias", layout, norms) for layout, norms in biases_of(edit))
        for kind, layout, norms in (("weight", edit.matrix, edit.norms), *biases):
            names = {
                "parameter": layout.parameter,
                "axis": layout.axis,
                "num_matrices": layout.num_matrices,
                "norm parameters": [norm.parameter for norm in norms],
            }
            after = [(norm.tensor, norm.offset, norm.centered) for norm in norms]
            for stored in layout.stored:
                own = {"kind": kind, "axis": stored.axis, "num_matrices": stored.num_matrices, "norms": after}
                places[stored.tensor] = _Place(facts | own, names)
    return places


def _differences(name: str, actual: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    for fact, value in expected.items():
        same = math.isclose(actual[fact], value, rel_tol=1e-9) if fact == "strength" else actual[fact] == value
        if not same:
            yield f"{name}: {fact} is {actual[fact]} in {RECIPE.name}, but {value} in the base"


def _renamed(actual: _Place, expected: _Place) -> Iterator[str]:
    """Yield names in memory that differ; they depend on the version of transformers, and no weight depends on them."""
    for fact, value in expected.names.items():
        if actual.names[fact] != value:
            yield f"not checked: {fact} of {RECIPE.name}, {actual.names[fact]}, where this transformers has {value}"
