"""What a release edits are residual writers of its base, as its parameters say: a name in a recipe proves nothing."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.support.found_once import find_writers_once
from tests.support.releases import Release, changed_json, failed, rewrite_manifest, verified
from tests.support.samples import sample_layout
from unwrite.files.checkpoints import stored_tensors
from unwrite.models.discovery.writers import find_writers
from unwrite.models.loading import load_config
from unwrite.release.verdict import verdict
from unwrite.release.writer_checks import FoundWriters, find_base_writers
from unwrite.schema.artifacts import as_json


def forged(release: Release, index: int, **changes: Any) -> str:
    """The failure of the check, with one edit of the recipe changed and everything listed again."""
    edits = [*release.recipe.edits]
    edits[index] = edits[index].model_copy(update=changes)
    recipe = release.recipe.model_copy(update={"edits": edits})
    (release.folder / "edit.json").write_text(json.dumps(as_json(recipe)))
    rewrite_manifest(release, recipe)
    return failed(verified(release)).get("residual writers", "")


def test_writers_found_once_are_those_found_each_time(release: Release) -> None:
    config = load_config(release.base)
    assert find_writers_once(config) == find_writers(config)
    assert find_writers_once(config, padding=False) == find_writers(config, padding=False)
    config.num_hidden_layers -= 1
    assert find_writers_once(config) == find_writers(config)


def test_honest_edits_are_those_of_the_writers(release: Release) -> None:
    assert forged(release, 0) == ""


@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight", "model.layers.2.mlp.gate_proj.weight"])
def test_tensor_that_writes_nothing_into_the_stream_fails(name: str, release: Release) -> None:
    found = forged(release, 0, matrix=sample_layout(name, axis=1))
    assert f"{name} is not a residual writer of the base" in found
    assert "model.layers.0.self_attn.o_proj.weight is left out" in found


def test_norm_declared_as_a_bias_fails(release: Release) -> None:
    found = forged(release, 0, bias=sample_layout("model.norm.weight"))
    assert found == "model.norm.weight is not a residual writer of the base"


def test_writer_that_the_parameters_do_not_edit_fails(release: Release) -> None:
    extra = release.recipe.edits[0].model_copy(
        update={"layer": 2, "matrix": sample_layout("model.layers.2.self_attn.o_proj.weight")}
    )
    recipe = release.recipe.model_copy(update={"edits": [*release.recipe.edits, extra]})
    (release.folder / "edit.json").write_text(json.dumps(as_json(recipe)))
    rewrite_manifest(release, recipe)
    assert "is a writer that the parameters do not edit" in failed(verified(release))["residual writers"]


@pytest.mark.parametrize(("field", "value"), [("layer", 1), ("component", "mlp")])
def test_wrong_label_of_a_writer_fails(field: str, value: object, release: Release) -> None:
    assert f"o_proj.weight: {field} is {value} in edit.json" in forged(release, 0, **{field: value})


def test_other_name_in_memory_is_only_told(release: Release) -> None:
    matrix = release.recipe.edits[0].matrix.model_copy(update={"parameter": "another.name"})
    assert forged(release, 0, matrix=matrix) == ""
    (check,) = [check for check in verified(release).checks if check.name == "residual writers"]
    assert "parameter of edit.json, another.name" in check.notes[0]


@pytest.mark.parametrize("stated", [True, False])
def test_layers_that_are_stored_and_not_run_are_told_unless_the_manifest_names_them(
    stated: bool, release: Release
) -> None:
    name, file = "model.layers.3.mlp.up_proj.weight", "model-more.safetensors"
    for folder in (release.base, release.folder):
        save_file({name: torch.zeros(32, 32)}, folder / file, metadata={"format": "pt"})
        with changed_json(folder / "model.safetensors.index.json") as index:
            index["weight_map"][name] = file
    rewrite_manifest(release)
    if stated:
        with changed_json(release.folder / "provenance.json") as manifest:
            manifest["predicate"]["buildDefinition"]["internalParameters"]["not_run"] = ["model.layers.3"]
    (check,) = [check for check in verified(release).checks if check.name == "residual writers"]
    assert check.details == []
    told = ["model.layers.3 is stored and not run, so not edited; the manifest does not say so"]
    assert list(check.notes) == ([] if stated else told)


def test_without_transformers_it_is_said(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_base_writers(release.base)
    assert isinstance(found, FoundWriters)
    assert len(found.writers) == 2 * found.layers
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("unwrite.models.discovery"):
            raise ModuleNotFoundError("No module named 'transformers'", name="transformers")
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert find_base_writers(release.base) == "needs transformers"
    result = verified(release)
    assert (result.passed, result.complete) == (True, False)
    expected = "No problem found, but not everything was checked: residual writers (needs transformers)."
    assert verdict(result) == expected


def test_architecture_that_is_not_known_is_said(release: Release) -> None:
    (release.base / "config.json").write_text('{"model_type": "teapot"}')
    found = find_base_writers(release.base)
    assert isinstance(found, str)
    assert found.startswith("the base's writers are not known: ")


def test_unedited_helpers_are_what_they_say(release: Release) -> None:
    # The control of the cases above: these tensors exist, so it is not their absence that fails.
    names = stored_tensors(release.base)
    assert {"lm_head.weight", "model.norm.weight", "model.layers.2.self_attn.o_proj.weight"} <= names.keys()
