"""What nothing proves is named, file by file, and only where it is so."""

from __future__ import annotations

from tests.support.releases import Release, verified
from tests.support.samples import sample_recipe, sample_trial
from unwrite.release.manifest import read_manifest
from unwrite.release.recipe_checks import RecipeFiles
from unwrite.release.unproven import unproven_fields
from unwrite.schema.artifacts import Kernel
from unwrite.terms import Scope


def fields_of(release: Release, file: str) -> list[str]:
    return [field for one in verified(release).unproven if one.file == file for field in one.fields]


def named(release: Release, kernel: Kernel, scope: Scope, edits: int = 4) -> set[str]:
    """Fields of a recipe that are named, other than names in memory."""
    trial = sample_trial(attention=kernel, mlp=kernel, direction_scope=scope)
    recipe = sample_recipe(release.recipe.edits[:edits], trial)
    found = unproven_fields(release.folder, read_manifest(release.folder), RecipeFiles(recipe, {}))
    fields = {field for one in found if one.file == "edit.json" for field in one.fields}
    return {field for field in fields if not field.startswith("edits.")}


def test_fields_that_no_edit_depends_on_are_named(release: Release) -> None:
    slope = Kernel(max_weight=1, max_weight_position=0, min_weight=0.5, min_weight_distance=1)
    flat = slope.model_copy(update={"min_weight": 1.0})
    measured = {"trial.behaviour_rate", "trial.kl"}
    assert named(release, slope, "global") == measured
    assert named(release, slope, "per_layer") == {*measured, "parameters.direction_index"}
    assert "parameters.mlp.max_weight_position" in named(release, flat, "global")
    assert "parameters.mlp.max_weight" in named(release, flat, "global", edits=0)


def test_parameters_are_named_only_without_their_file(release: Release) -> None:
    parameters = "predicate.buildDefinition.externalParameters.parameters"
    assert parameters in fields_of(release, "provenance.json")
    (release.folder / "params.yaml").write_text("{}")
    assert parameters not in fields_of(release, "provenance.json")
    assert "params.yaml" in {one.file for one in verified(release).unproven}


def test_files_are_named_if_they_are_there(release: Release) -> None:
    assert "dvc.lock" not in {one.file for one in verified(release).unproven}
    (release.folder / "dvc.lock").write_text("")
    assert "dvc.lock" in {one.file for one in verified(release).unproven}
