"""A recipe that is damaged, inconsistent or not the declared one is found, even if the manifest was rewritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.releases import (
    EDITED,
    UNEDITED,
    Release,
    changed_json,
    failed,
    rewrite_manifest,
    verified,
)
from tests.support.samples import sample_settings
from unwrite.files.checkpoints import shard_files
from unwrite.release.verdict import verification_text
from unwrite.schema.artifacts import as_json


def test_changed_strength_in_the_recipe_fails(release: Release) -> None:
    with changed_json(release.folder / "edit.json") as recipe:
        recipe["edits"][0]["strength"] = 0.9
    found = failed(verified(release))
    assert set(found) == {"files", "recipe", "manifest", "residual writers", "edited tensors"}
    assert f"{EDITED} is declared with a different edit" in found["manifest"]
    assert f"{EDITED} has strength 0.9, but the kernel of its parameters gives 0.8" in found["recipe"]
    edit = release.recipe.edits[0].model_copy(update={"strength": 0.9})
    rewrite_manifest(release, release.recipe.model_copy(update={"edits": [edit, *release.recipe.edits[1:]]}))
    assert set(failed(verified(release))) == {"recipe", "residual writers", "edited tensors"}


def test_kernel_with_a_negative_width_fails(release: Release) -> None:
    with changed_json(release.folder / "edit.json") as recipe:
        for component in ("attention", "mlp"):
            recipe["parameters"][component]["min_weight_distance"] = -1.0
    assert "min_weight_distance must be at least 0, got -1.0" in failed(verified(release))["recipe"]


def test_changed_norm_preservation_fails(release: Release) -> None:
    recipe = release.recipe.model_copy(update={"settings": sample_settings(norm_preservation="none")})
    (release.folder / "edit.json").write_text(json.dumps(as_json(recipe)))
    found = failed(verified(release))
    assert "norm_preservation is rows in the manifest, none in edit.json" in found["manifest"]
    rewrite_manifest(release, recipe)
    assert set(failed(verified(release))) == {"parameters", "edited tensors"}


def damaged_recipe(folder: Path) -> None:
    (folder / "edit.json").write_text("{}")


def damaged_directions(folder: Path) -> None:
    (folder / "directions.safetensors").write_bytes(b"x" * 20)


def no_directions(folder: Path) -> None:
    (folder / "directions.safetensors").unlink()


def no_such_direction(folder: Path) -> None:
    with changed_json(folder / "edit.json") as recipe:
        recipe["edits"][0]["direction"]["index"] = 99.0


def no_such_position(folder: Path) -> None:
    with changed_json(folder / "edit.json") as recipe:
        recipe["edits"][0]["direction"]["position"] = 7


def no_such_tensor(folder: Path) -> None:
    with changed_json(folder / "edit.json") as recipe:
        recipe["edits"][0]["matrix"]["stored"][0]["tensor"] = "nowhere"


def other_width(folder: Path) -> None:
    path = folder / "directions.safetensors"
    save_file({name: tensor[..., :16].contiguous() for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (damaged_recipe, "recipe", "edit.json is not a valid recipe"),
        (damaged_directions, "recipe", "directions.safetensors is damaged"),
        (no_directions, "recipe", "directions.safetensors is missing"),
        (no_such_direction, "edited tensors", "does not fit"),
        (no_such_position, "edited tensors", "direction position must be in [0, 0], got 7"),
        (no_such_tensor, "edited tensors", "nowhere"),
        (other_width, "edited tensors", "does not fit"),
    ],
)
def test_recipe_that_cannot_be_applied_fails(
    change: Callable[[Path], None], check: str, message: str, release: Release
) -> None:
    change(release.folder)
    found = verified(release)
    assert message in failed(found)[check]
    assert not found.passed
    assert "Traceback" not in verification_text(found)


def test_directions_file_must_hold_directions_only(release: Release) -> None:
    path = release.folder / "directions.safetensors"
    tensors = load_file(path)
    for others in (
        {UNEDITED: torch.zeros(32, 32)},
        {"directions": tensors["directions"][0]},
        {"baseline_mean": tensors["baseline_mean"][:, :2]},
        {name: tensor.long() for name, tensor in tensors.items()},
    ):
        save_file({name: tensor.contiguous() for name, tensor in (tensors | others).items()}, path)
        rewrite_manifest(release)
        assert "must hold baseline_mean, directions, target_mean" in failed(verified(release))["recipe"]


def test_recipe_that_edits_nothing_fails(release: Release) -> None:
    recipe = release.recipe.model_copy(update={"edits": []})
    (release.folder / "edit.json").write_text(json.dumps(as_json(recipe)))
    for shard in shard_files(release.base):
        shutil.copy(release.base / shard, release.folder)
    rewrite_manifest(release, recipe)
    assert failed(verified(release))["recipe"] == "it edits nothing"


def test_replaced_figures_fail(release: Release) -> None:
    (release.folder / "evaluation.json").write_text("{}")
    rewrite_manifest(release)
    assert "manifest" not in failed(verified(release))
    with changed_json(release.folder / "provenance.json") as manifest:
        for one in manifest["predicate"]["buildDefinition"]["resolvedDependencies"]:
            if one["name"] == "artifacts/evaluation.json":
                one["digest"] = {"sha256": "0" * 64}
    assert failed(verified(release))["manifest"] == "evaluation.json is not the file that the release was made with"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["norms"], [{"parameter": "x", "tensor": None, "offset": 0.0}]),
        (["direction", "position"], 10**30),
        (["strength"], float("nan")),
        (["layer"], 10**200),
    ],
)
def test_recipe_with_impossible_values_fails(place: list[str], value: object, release: Release) -> None:
    with changed_json(release.folder / "edit.json") as recipe:
        *outer, last = place
        entry = recipe["edits"][0]
        for key in outer:
            entry = entry[key]
        assert last in entry  # otherwise it is an unknown key that is refused
        entry[last] = value
    assert f"edit.json is not a valid recipe (edits.0.{place[0]}" in failed(verified(release))["recipe"]
