"""Manifest, params.yaml and recipe state the same parameters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.published import write_yaml
from tests.support.releases import Release, changed_json, failed, release_parameters, rewrite_manifest, verified


def changed_parameters(section: str, key: str, value: Any) -> dict[str, dict[str, Any]]:
    parameters = release_parameters()
    parameters[section] = {**parameters[section], key: value}
    return parameters


def failure(release: Release, written: dict[str, dict[str, Any]], declared: dict[str, dict[str, Any]]) -> str:
    """The failure of the check with params.yaml and a manifest of these parameters."""
    write_yaml(release.folder / "params.yaml", written)
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        external = manifest["predicate"]["buildDefinition"]["externalParameters"]
        external["parameters"] = {name: declared[name] for name in external["parameters"]}
    return failed(verified(release)).get("parameters", "")


SPACE = release_parameters()["optimize"]["space"]


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("optimize", "norm_preservation", "none", "norm_preservation is rows in edit.json, but none in the parameters"),
        ("optimize", "edit_bias", False, "edit_bias is True in edit.json, but False"),
        ("optimize", "post_norm", "ignore", "post_norm is compensate in edit.json, but ignore"),
        ("directions", "orthogonalize", "none", "orthogonalize is projected in edit.json, but none"),
        ("optimize", "space", SPACE | {"spans": [[0, 0, 1]]}, "spans is [] in edit.json"),
        ("optimize", "space", SPACE | {"direction_scope": ["per_layer"]}, "the scope is global"),
        ("select", "trial", 5, "the trial is 0, but select.trial is 5"),
        ("select", "trial", None, "the selection is 'named by number'"),
    ],
)
def test_parameters_that_contradict_the_recipe_fail(
    section: str, key: str, value: Any, message: str, release: Release
) -> None:
    honest = release_parameters()
    assert failure(release, honest, honest) == ""
    both = changed_parameters(section, key, value)
    assert message in failure(release, both, both)


@pytest.mark.parametrize(
    ("section", "key", "value"), [("optimize", "seed", 1), ("optimize", "racing", 1), ("tokenize", "baseline", "x")]
)
def test_file_that_contradicts_the_manifest_fails(section: str, key: str, value: Any, release: Release) -> None:
    changed, honest = changed_parameters(section, key, value), release_parameters()
    expected = f"{section}.{key} differs between the manifest and params.yaml"
    assert failure(release, changed, honest) == failure(release, honest, changed) == expected


def test_a_chat_template_must_be_the_one_that_rendered_the_prompts(release: Release) -> None:
    changed, honest = changed_parameters("tokenize", "template", "own.jinja"), release_parameters()
    assert "prompt_template.jinja is missing" in failure(release, changed, changed)
    (release.folder / "prompt_template.jinja").write_text("{{ messages[0].content }}")
    assert "is not the template that tokenize_prompts recorded" in failure(release, changed, changed)
    assert "tokenize.template is null, but there is prompt_template.jinja" in failure(release, honest, honest)


def test_a_chat_template_is_checked_without_params_yaml_too(release: Release) -> None:
    assert failed(verified(release)) == {}
    (release.folder / "prompt_template.jinja").write_text("{{ messages[0].content }}")
    rewrite_manifest(release)
    found = failed(verified(release))
    assert found == {"parameters": "tokenize.template is null, but there is prompt_template.jinja"}


def test_private_path_is_compared_as_it_is_published(release: Release) -> None:
    written = changed_parameters("model", "source", "/home/somebody/tea")
    assert failure(release, written, changed_parameters("model", "source", "tea")) == ""


@pytest.mark.parametrize("text", ["a: [", "- 1", "&a [*a]", "model: 3"])
def test_file_that_is_no_parameters_fails(text: str, release: Release) -> None:
    (release.folder / "params.yaml").write_text(text)
    rewrite_manifest(release)
    assert "params.yaml" in failed(verified(release))["parameters"]
