"""The check of a manifest's own form: nothing in it beside what unwrite writes, and nothing left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from unwrite.release.base_source import GGUF_KEYS, SOURCE_KEYS
from unwrite.release.file_checks import Check, checked
from unwrite.release.recipe_checks import RecipeFiles
from unwrite.release.statement import Descriptor, Manifest
from unwrite.release.untrusted import is_plain_file
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import DIRECTIONS, EVALUATION, RECIPE

MERGED_FROM = ("model", "tokenize", "residuals", "directions", "optimize", "select")
"""The sections of params.yaml that lead to the merged model."""
_MEASURED_FROM = ("generate", "judge", "score", "evaluate")
_STAGES = (
    "pin_model",
    "tokenize_prompts",
    "extract_residuals",
    "compute_directions",
    "optimize_weights",
    "select_trial",
)
_BUILDER = "urn:unwrite:merge_model"
_ANNOTATIONS: Mapping[str, set[str]] = {
    "base": {"role", "size"},
    "input": {"role", "size", "stage"},
    "artifact": {"role", "size", "stage"},
    "project": {"role"},
}
_SUMS = {"sha256": re.compile("[0-9a-f]{64}"), "gitCommit": re.compile("[0-9a-f]{40}|[0-9a-f]{64}")}


def check_statement(release: Path, base: Path | None, manifest: Manifest, recipe: RecipeFiles | None) -> Check:
    """Check that a manifest has the form that unwrite writes, and states all that a release of its kind states.

    A recipe made by hand has no stages and no parameters. One that comes from a search has both.
    """
    problems = [*_subjects(manifest), *_dependencies(base, manifest), *_sources(manifest)]
    problems += _left_out(release, manifest, recipe)
    return checked("statement", "the manifest leaves nothing out, and holds nothing else", problems)


def _subjects(manifest: Manifest) -> Iterator[str]:
    for one in manifest.subject:
        yield from _wrong_form(one, "sha256", {"size"}, one.name)
        if one.uri is not None:
            yield f"{one.name} has a uri"


def _dependencies(base: Path | None, manifest: Manifest) -> Iterator[str]:
    source, commit = (manifest.external.base.get(key) for key in ("source", "commit"))
    base_uri = None if commit is None else f"pkg:huggingface/{source}@{commit}"
    for one in manifest.predicate.build_definition.resolved_dependencies:
        role = one.annotations.get("role")
        if not isinstance(role, str) or role not in _ANNOTATIONS:
            yield f"{one.name} has the role {role!r}"
            continue
        yield from _wrong_form(one, "gitCommit" if role == "project" else "sha256", _ANNOTATIONS[role], one.name)
        if one.uri != (base_uri if role == "base" else None):
            yield f"{one.name} has the uri {one.uri}, but the base is {source} at {commit}"
        if role == "base" and base is not None:
            yield from _wrong_size(base, one)


def _wrong_form(one: Descriptor, algorithm: str, annotations: set[str], name: str) -> Iterator[str]:
    if one.digest.keys() != {algorithm} or not _SUMS[algorithm].fullmatch(one.digest[algorithm]):
        yield f"{name} must have a {algorithm} and no other digest"
    if one.annotations.keys() != annotations:
        yield f"{name} must be annotated with {', '.join(sorted(annotations))}, got {', '.join(one.annotations)}"
    elif "size" in annotations and not _is_count(one.annotations["size"]):
        yield f"{name} has the size {one.annotations['size']!r}"


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _wrong_size(folder: Path, one: Descriptor) -> Iterator[str]:
    if is_plain_file(folder, one.name) and (folder / one.name).stat().st_size != one.annotations.get("size"):
        yield f"{one.name} has {(folder / one.name).stat().st_size} bytes, but another size is declared"


def _sources(manifest: Manifest) -> Iterator[str]:
    base = manifest.external.base
    if base.keys() not in ({*SOURCE_KEYS}, {*SOURCE_KEYS, *GGUF_KEYS}):
        yield f"the base must have a source and a commit, got {', '.join(base)}"
    elif "gguf_sha256" in base and not _is_gguf_statement(base):
        yield "a base from a GGUF file must have the file's sha256, a version of transformers and no commit"
    if manifest.predicate.run_details.builder.id != _BUILDER:
        yield f"the builder is {manifest.predicate.run_details.builder.id}, expected {_BUILDER}"


def _is_gguf_statement(base: Mapping[str, str | None]) -> bool:
    sha256, version = (base[key] for key in GGUF_KEYS)
    return base["commit"] is None and bool(version) and _SUMS["sha256"].fullmatch(sha256 or "") is not None


def _left_out(release: Path, manifest: Manifest, recipe: RecipeFiles | None) -> Iterator[str]:
    if not manifest.dependencies("base"):
        yield "it declares no file of the base"
    stages = manifest.internal.stages
    if "merge_model" not in stages:
        yield "it declares no environment of merge_model"
    measured = is_plain_file(release, EVALUATION.name)
    searched = recipe is not None and recipe.recipe.trial is not None
    if not (searched or measured or is_plain_file(release, PARAMS_FILE.name) or manifest.internal.trial is not None):
        return
    yield from (f"it declares no stage {name}" for name in _STAGES if name not in stages)
    sections = (*MERGED_FROM, *(_MEASURED_FROM if measured else ()))
    yield from (f"it leaves out the parameters of {one}" for one in sections if one not in manifest.external.parameters)
    if ("filter_prompts" in stages) != ("filter" in manifest.external.parameters):
        yield "it must declare both the stage filter_prompts and the parameters of filter, or neither"
    made = {PurePosixPath(one.name).name for one in manifest.dependencies("artifact")}
    wanted = [RECIPE.name, DIRECTIONS.name, *([EVALUATION.name] if measured else [])]
    yield from (f"it leaves out {name}, which a stage wrote" for name in wanted if name not in made)
