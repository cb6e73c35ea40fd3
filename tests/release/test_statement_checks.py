"""A manifest has the form that unwrite writes: nothing is left out, and nothing is hidden in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.releases import Release, changed_json, failed, rewrite_manifest, verified
from unwrite.files.records import write_json
from unwrite.schema.artifacts import Recipe, as_json


def statement_after(release: Release, change: Callable[[dict[str, Any]], object]) -> str:
    """The failure of the check, with the manifest changed."""
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        change(manifest)
    return failed(verified(release)).get("statement", "")


def definition(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["predicate"]["buildDefinition"]
    return found


def dependencies(manifest: dict[str, Any], role: str) -> list[dict[str, Any]]:
    return [one for one in definition(manifest)["resolvedDependencies"] if one["annotations"]["role"] == role]


def without(manifest: dict[str, Any], role: str) -> None:
    kept = [one for one in definition(manifest)["resolvedDependencies"] if one["annotations"]["role"] != role]
    definition(manifest)["resolvedDependencies"] = kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["subject"][0]["digest"].update(payload="x"), "must have a sha256 and no other digest"),
        (lambda m: m["subject"][0]["annotations"].update(payload="x"), "must be annotated with size"),
        (lambda m: m["subject"][0].update(uri="x"), "has a uri"),
        (lambda m: dependencies(m, "base")[0].update(uri="pkg:x"), "has the uri pkg:x"),
        (lambda m: dependencies(m, "base")[0]["annotations"].update(role="x"), "has the role 'x'"),
        (lambda m: dependencies(m, "base")[0]["annotations"].update(role=[]), "has the role []"),
        (lambda m: dependencies(m, "base")[0]["annotations"].update(size=1), "another size is declared"),
        (lambda m: dependencies(m, "artifact")[0]["annotations"].update(size="1"), "has the size '1'"),
        (lambda m: definition(m)["externalParameters"]["base"].update(payload="x"), "a source and a commit, got"),
        (lambda m: m["predicate"]["runDetails"]["builder"].update(id="x"), "the builder is x"),
        (lambda m: without(m, "base"), "declares no file of the base"),
        (lambda m: without(m, "artifact"), "leaves out edit.json, which a stage wrote"),
        (lambda m: definition(m)["externalParameters"].update(parameters={}), "leaves out the parameters of optimize"),
        (
            lambda m: definition(m)["externalParameters"]["parameters"].pop("filter"),
            "must declare both the stage filter_prompts and the parameters of filter",
        ),
        (
            lambda m: definition(m)["internalParameters"]["stages"].pop("filter_prompts"),
            "must declare both the stage filter_prompts and the parameters of filter",
        ),
        (lambda m: definition(m)["internalParameters"].update(stages={}), "declares no stage select_trial"),
    ],
)
def test_what_is_added_or_left_out_fails(
    change: Callable[[dict[str, Any]], object], message: str, release: Release
) -> None:
    assert statement_after(release, lambda _: None) == ""
    assert message in statement_after(release, change)


def test_recipe_made_by_hand_needs_no_stages(release: Release) -> None:
    recipe = Recipe(**{**dict(release.recipe), "trial": None, "selection": "chosen by hand"})
    write_json(release.folder / "edit.json", as_json(recipe))
    rewrite_manifest(release, recipe)
    with changed_json(release.folder / "provenance.json") as manifest:
        definition(manifest)["externalParameters"]["parameters"] = {}
        stages = definition(manifest)["internalParameters"]["stages"]
        definition(manifest)["internalParameters"]["stages"] = {"merge_model": stages["merge_model"]}
        without(manifest, "artifact")
    assert failed(verified(release)) == {}
    with changed_json(release.folder / "provenance.json") as manifest:
        definition(manifest)["internalParameters"]["trial"] = 3
    assert set(failed(verified(release))) == {"statement", "parameters"}
