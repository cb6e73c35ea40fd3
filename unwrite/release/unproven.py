"""What a verification does not prove: every field that travels with a release and can be checked against nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unwrite.files.cards import CARD_FILE
from unwrite.pipeline.runs import LOCK
from unwrite.release.base_source import GGUF_KEYS
from unwrite.release.recipe_checks import RecipeFiles
from unwrite.release.statement import Manifest
from unwrite.release.untrusted import is_plain_file
from unwrite.schema.artifacts import Artifact, Kernel, Recipe
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import DIRECTIONS, EVALUATION, MANIFEST, RECIPE
from unwrite.terms import COMPONENTS, Component

_DEFINITION = "predicate.buildDefinition"
_RESULTS = ("unexplained", "incomplete", "not_run", "left_out", "stages", "clean", "allowed")
_MANIFEST_FIELDS = [
    f"{_DEFINITION}.externalParameters.base.source",
    *(f"{_DEFINITION}.internalParameters.{name}" for name in _RESULTS),
    f"{_DEFINITION}.resolvedDependencies[role=input]",
    f"{_DEFINITION}.resolvedDependencies[role=artifact]",
    f"{_DEFINITION}.resolvedDependencies[role=project]",
    "predicate.runDetails.builder.version",
]
_IN_MEMORY = ["matrix.parameter", "matrix.axis", "matrix.num_matrices", "norms.*.parameter"]


class Unproven(Artifact):
    """Fields of one file that nothing proves: dotted, `*` for any entry of a list; no fields are the whole file.

    "order of …" is the order of the entries of a list or mapping, and not their values.
    """

    file: str
    fields: list[str]
    reason: str


def unproven_fields(release: Path, manifest: Manifest, recipe: RecipeFiles | None) -> list[Unproven]:
    """Return what is not proven about a release, by file."""
    return list(_unproven(release, manifest, recipe))


def _unproven(release: Path, manifest: Manifest, recipe: RecipeFiles | None) -> Iterator[Unproven]:
    has_params = is_plain_file(release, PARAMS_FILE.name)
    gguf = [f"{_DEFINITION}.externalParameters.base.{key}" for key in GGUF_KEYS if key in manifest.external.base]
    parameters = [] if has_params else [f"{_DEFINITION}.externalParameters.parameters"]
    yield Unproven(file=MANIFEST, fields=[*_MANIFEST_FIELDS, *gguf, *parameters], reason="as the publisher states them")
    yield Unproven(file=MANIFEST, fields=["order of *"], reason="entries in another order mean the same")
    if recipe is not None:
        fields = [f"edits.*.{name}" for name in _IN_MEMORY]
        fields += [f"edits.*.{name.replace('matrix', 'bias')}" for name in _IN_MEMORY[:3]]
        if any(norm.bias is not None for edit in recipe.recipe.edits for norm in edit.norms):
            fields += [f"edits.*.{name.replace('matrix', 'norms.*.bias')}" for name in _IN_MEMORY[:3]]
        yield Unproven(file=RECIPE.name, fields=fields, reason="names in memory, on which no weight depends")
        same = [field for component in COMPONENTS for field in _indifferent(recipe.recipe, component)]
        if same:
            yield Unproven(file=RECIPE.name, fields=same, reason="other values give the same strengths")
        fields = ["trial.behaviour_rate", "trial.kl"]
        if recipe.recipe.parameters.direction_scope != "global":
            fields.append("parameters.direction_index")
        yield Unproven(file=RECIPE.name, fields=fields, reason="measured or sampled by the search")
    means = ["target_mean", "baseline_mean"]
    yield Unproven(file=DIRECTIONS.name, fields=means, reason="measured on the base; directions follow from them")
    present = [name for name in (EVALUATION.name, CARD_FILE, LOCK.name) if is_plain_file(release, name)]
    reasons = {
        EVALUATION.name: "measured; they agree with each other, the card's metadata and the parameters",
        CARD_FILE: "its text, licence and languages",
        LOCK.name: "DVC's record",
    }
    yield from (Unproven(file=name, fields=[], reason=reasons[name]) for name in present)
    if has_params:
        listed = ", ".join(manifest.external.parameters)
        reason = f"comments, form, and sections other than those of the manifest ({listed})"
        yield Unproven(file=PARAMS_FILE.name, fields=[], reason=reason)


def _indifferent(recipe: Recipe, component: Component) -> list[str]:
    """Return the fields of a kernel that may have other values without any edit changing."""
    kernel: Kernel = getattr(recipe.parameters, component)
    layers = [edit.layer for edit in recipe.edits if edit.component == component]
    if not layers:
        fields = ["max_weight", "max_weight_position", "min_weight", "min_weight_distance"]
    elif kernel.max_weight == kernel.min_weight:
        fields = ["max_weight_position", "min_weight_distance"]
    elif set(layers) == {kernel.max_weight_position}:
        fields = ["min_weight", "min_weight_distance"]
    else:
        fields = []
    return [f"parameters.{component}.{field}" for field in fields]
