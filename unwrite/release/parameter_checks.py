"""The check of a release's parameters: manifest, params.yaml and recipe state the same ones."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError, reason_of
from unwrite.release.file_checks import Check, checked, not_checked
from unwrite.release.public_values import public_parameters
from unwrite.release.recipe_checks import RecipeFiles
from unwrite.release.statement import Manifest
from unwrite.release.untrusted import is_plain_file, malformed_told
from unwrite.report.format import percent
from unwrite.schema.artifacts import Recipe
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import PROMPT_TEMPLATE, RECIPE, TEMPLATE, TOKENS
from unwrite.schema.safe_yaml import load_yaml
from unwrite.schema.text import read_text
from unwrite.terms import COMPONENTS

_SLACK = 1e-9
Sections = Mapping[str, Mapping[str, Any]]


def check_parameters(release: Path, manifest: Manifest, recipe: RecipeFiles | None) -> Check:
    """Check that the parameters of manifest, params.yaml and recipe agree."""
    declared = manifest.external.parameters
    problems = [] if recipe is None else [*_trial_problems(manifest, recipe.recipe)]
    has_file = is_plain_file(release, PARAMS_FILE.name)
    problems += _template_problems(manifest, published=has_file)
    if not declared and not has_file:
        if problems:
            return checked("parameters", "", problems)
        return not_checked("parameters", "the manifest declares none: the recipe was made by hand")
    if recipe is not None:
        problems += malformed_told(_recipe_problems(declared, recipe), "the manifest's parameters")
    if has_file:
        problems += malformed_told(_file_problems(release / PARAMS_FILE.name, declared), PARAMS_FILE.name)
    return checked("parameters", "manifest, params.yaml and recipe agree", problems)


def _template_problems(manifest: Manifest, *, published: bool) -> Iterator[str]:
    """Yield how the chat template that a release brings along is not the one that its prompts were rendered with.

    A merged model that is not `published` brings none.
    """
    stated = manifest.external.parameters.get("tokenize", {}).get("template")
    sums = {one.name: one.digest.get("sha256") for one in manifest.subject}
    made = {one.name: one.digest.get("sha256") for one in manifest.dependencies("artifact")}
    if stated is None and PROMPT_TEMPLATE in sums.keys() - {one.name for one in manifest.dependencies("base")}:
        yield f"tokenize.template is null, but there is {PROMPT_TEMPLATE}"
    elif stated is not None and PROMPT_TEMPLATE not in sums:
        if published:
            yield f"tokenize.template is {stated}, but {PROMPT_TEMPLATE} is missing"
    elif stated is not None and sums[PROMPT_TEMPLATE] != made.get((TOKENS / TEMPLATE).as_posix()):
        yield f"{PROMPT_TEMPLATE} is not the template that tokenize_prompts recorded"


def _trial_problems(manifest: Manifest, recipe: Recipe) -> Iterator[str]:
    number = None if recipe.trial is None else recipe.trial.number
    if manifest.internal.trial != number:
        yield f"the trial is {manifest.internal.trial} in the manifest, {number} in {RECIPE.name}"
    if manifest.internal.selection != recipe.selection:
        yield f"the selection is {manifest.internal.selection!r} in the manifest, {recipe.selection!r} in {RECIPE.name}"


def _file_problems(path: Path, declared: Sections) -> Iterator[str]:
    try:
        stated = load_yaml(read_text(path))
    except (UnwriteError, ValueError) as error:
        yield f"{path.name} cannot be read ({reason_of(error)})"
        return
    if not isinstance(stated, dict):
        yield f"{path.name} holds no sections"
        return
    for section, values in declared.items():
        given = stated.get(section)
        if not isinstance(given, dict):
            yield f"{path.name} leaves out {section}, which the manifest declares"
            continue
        public = public_parameters(section, given)
        for key in [*values, *(key for key in public if key not in values)]:
            if key not in public or key not in values or not _same(public[key], values[key]):
                yield f"{section}.{key} differs between the manifest and {path.name}"


def _recipe_problems(declared: Sections, files: RecipeFiles) -> Iterator[str]:
    recipe, settings = files.recipe, files.recipe.settings.model_dump(mode="json")
    optimize, space = declared.get("optimize", {}), declared.get("optimize", {}).get("space", {})
    stated = {key: optimize.get(key) for key in ("norm_preservation", "edit_bias", "post_norm") if key in optimize}
    stated |= {"spans": space["spans"]} if "spans" in space else {}
    stated |= {key: value for key, value in declared.get("directions", {}).items() if key == "orthogonalize"}
    for key, value in stated.items():
        if not _same(settings[key], value):
            yield f"{key} is {settings[key]} in {RECIPE.name}, but {value} in the parameters"
    scope = recipe.parameters.direction_scope
    if scope not in space.get("direction_scope", [scope]):
        yield f"the scope is {scope}, which optimize.space.direction_scope does not list"
    for component in COMPONENTS:
        low, high = space.get(component, {}).get("max_weight", (-float("inf"), float("inf")))
        weight = getattr(recipe.parameters, component).max_weight
        if not max(0.0, low) - _SLACK <= weight <= max(0.0, high) + _SLACK:
            yield f"the largest strength of {component} is {weight:.6g}, but optimize.space allows {low} to {high}"
    yield from _selection_problems(declared.get("select", {}), recipe)


def _selection_problems(select: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    """Yield how the selected trial contradicts the section `select`: as `search.selection` chooses and words it."""
    if not {"trial", "max_behaviour_rate"} <= select.keys():
        return
    if recipe.trial is None:
        yield f"the parameters select a trial, but {RECIPE.name} comes from none"
        return
    rate, highest = recipe.trial.behaviour_rate, select["max_behaviour_rate"]
    if not 0 <= rate <= 1:
        yield f"the trial's behaviour rate is {rate:.6g}, expected a share"
    if select["trial"] is not None:
        expected = "named by number"
        if recipe.trial.number != select["trial"]:
            yield f"the trial is {recipe.trial.number}, but select.trial is {select['trial']}"
    elif rate <= highest:
        expected = f"lowest KL divergence at a behaviour rate of at most {percent(highest)}"
    else:
        expected = f"lowest behaviour rate; none reached {percent(highest)}"
    if recipe.selection != expected:
        yield f"the selection is {recipe.selection!r}, but the trial's rate and section select give {expected!r}"


def _same(one: Any, other: Any) -> bool:
    """Return whether two values from YAML or JSON are the same: a date is its text, and true is not 1."""
    one, other = (value.isoformat() if isinstance(value, datetime.date) else value for value in (one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
