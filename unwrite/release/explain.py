"""A release in words: one page that says what it was made of, how, and what was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from unwrite.errors import UnwriteError
from unwrite.pipeline.environment import Environment
from unwrite.release.manifest import Manifest, edited_patterns, read_manifest
from unwrite.release.untrusted import is_plain_file, printable
from unwrite.report import tables
from unwrite.schema.artifacts import A, Evaluation, Recipe
from unwrite.schema.parsing import parse_record
from unwrite.schema.paths import EVALUATION, RECIPE

_WIDTH = 100


def explain_release(release: Path) -> str:
    """The page, for a terminal of 100 columns.

    Args:
        release: A folder with a manifest and its recipe; the figures are shown if they travel with it, as they do with
            one that was published.

    Raises:
        UnwriteError: It has no manifest or no recipe that can be read.
    """
    manifest = read_manifest(release)
    recipe = _read(Recipe, release / RECIPE.name)
    if recipe is None:
        raise UnwriteError(f"{release} has no {RECIPE.name}: it is not all of a release.")
    evaluation = _read(Evaluation, release / EVALUATION.name)
    measured = (
        f"No figures travel with this folder: {EVALUATION.name} is added when a release is published."
        if evaluation is None
        else tables.measured_text(evaluation)
    )
    parts = {
        "What was changed": "\n".join(_changed(manifest, recipe)),
        "What was measured, on the test split": measured,
        "Parameters": "\n".join(_parameters(manifest.external.parameters)),
        "Made with": "\n".join(_made_with(manifest)),
    }
    page = "\n\n".join(["\n".join(_about(manifest)), *(f"{title}\n{text}" for title, text in parts.items())])
    return printable(page)


def _read(model: type[A], path: Path) -> A | None:
    if not is_plain_file(path.parent, path.name):
        return None
    return parse_record(model, path.read_bytes(), str(path))


def _about(manifest: Manifest) -> Iterator[str]:
    source, commit = (manifest.external.base.get(key) for key in ("source", "commit"))
    yield f"Base:       {source}, {f'commit {commit}' if commit else 'a local folder'}"
    yield f"Behaviour:  {_behaviour(manifest)}"
    for gap in manifest.internal.incomplete:
        yield f"Not edited: {gap}"


def _behaviour(manifest: Manifest) -> str:
    told = manifest.external.parameters.get("report", {}).get("behaviour")
    return " ".join(str(told).split()) if told else "not stated in this folder; a published release states it"


def _changed(manifest: Manifest, recipe: Recipe) -> Iterator[str]:
    edited = {name: edit for name, edit in manifest.internal.tensors.items() if edit is not None}
    yield f"{len(edited)} of {len(manifest.internal.tensors)} tensors. {_norms(recipe)}"
    yield from (f"  {pattern}" for pattern in edited_patterns(edited))
    parameters = recipe.parameters
    yield f"The direction is {tables.direction_text(parameters, [parameters])}."
    trial = "No search" if recipe.trial is None else f"Trial {recipe.trial.number} of the search"
    yield f"{trial}; {recipe.selection}."
    rows = [
        [component, *(f"{value:.3g}" for value in kernel.model_dump().values())]
        for component, kernel in tables.kernel_rows(parameters)
    ]
    headers = ["kernel", "max weight", "at layer", "min weight", "over layers"]
    yield ""
    yield tabulate(rows, headers, "simple", disable_numparse=True, colalign=("left", *["right"] * 4))


def _norms(recipe: Recipe) -> str:
    told = tables.NORMS[recipe.settings.norm_preservation]
    return f"Norms ({recipe.settings.norm_preservation}): {told}."


def _parameters(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, section in sections.items():
        values = ", ".join(f"{key} {_value(value)}" for key, value in _dotted(section))
        yield from textwrap.wrap(f"{name}: {values}", _WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{' '.join(map(_value, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value) if value == "" else str(value)


def _made_with(manifest: Manifest) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for stage, environment in manifest.internal.stages.items():
        groups.setdefault(_environment(environment), []).append(stage)
    for told, stages in groups.items():
        where = "" if len(groups) == 1 else f"{', '.join(stages)}: "
        yield from textwrap.wrap(f"{where}{told}", _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    state = {True: "a clean tree", False: "with uncommitted changes", None: "state of the tree not known"}
    for project in manifest.dependencies("project"):
        yield f"Project at commit {project.digest.get('gitCommit', 'not stated')}, {state[manifest.internal.clean]}"
    if manifest.internal.allowed:
        yield f"Published in spite of: {', '.join(manifest.internal.allowed)}"


def _environment(environment: Environment) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    return f"Python {environment.python}, {packages}; {environment.system}, {environment.hardware}"
