"""A release in words: one page on what it was made from, how, and what was measured."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from unwrite.errors import UnwriteError
from unwrite.pipeline.environment import Environment
from unwrite.release.base_source import SOURCE_KEYS, base_text
from unwrite.release.manifest import edited_patterns, read_manifest
from unwrite.release.statement import Manifest
from unwrite.release.untrusted import is_plain_file, printable
from unwrite.report.calibration_table import calibration_text
from unwrite.report.edit_text import NORMS, direction_text, kernel_rows
from unwrite.report.tables import measured_text
from unwrite.schema.artifacts import A, Recipe
from unwrite.schema.dotted_keys import flattened
from unwrite.schema.evaluation import Evaluation
from unwrite.schema.parsing import parse_record
from unwrite.schema.paths import EVALUATION, RECIPE
from unwrite.schema.reasons import grouped_reasons

_WIDTH = 100
_CLEAN = {True: "no uncommitted changes", False: "with uncommitted changes", None: "state of the working tree unknown"}


def explain_release(release: Path) -> str:
    """Return the page, for a terminal of 100 columns.

    Args:
        release: a folder with a manifest and its recipe; the figures are shown if the folder has them, as a published
            release does.

    Raises:
        UnwriteError: the manifest or the recipe is missing, or a file is damaged.
    """
    manifest = read_manifest(release)
    recipe = _read(Recipe, release / RECIPE.name)
    if recipe is None:
        raise UnwriteError(f"{release} has no {RECIPE.name}: the release is incomplete.")
    sections = {
        "What was changed": "\n".join(_changed(manifest, recipe)),
        "What was measured, on the test split": _measured(release),
        "Parameters": "\n".join(_parameters(manifest.external.parameters)),
        "Made with": "\n".join(_made_with(manifest)),
    }
    page = "\n\n".join(["\n".join(_about(manifest)), *(f"{title}\n{text}" for title, text in sections.items())])
    return printable(page)


def _read(model: type[A], path: Path) -> A | None:
    if not is_plain_file(path.parent, path.name):
        return None
    return parse_record(model, path.read_bytes(), str(path))


def _about(manifest: Manifest) -> Iterator[str]:
    stated = manifest.external.base
    source, commit = (stated.get(key) for key in SOURCE_KEYS)
    yield f"Base:       {base_text(stated) if commit is None else f'{source}, commit {commit}'}"
    yield f"Behaviour:  {_behaviour(manifest)}"
    for reason in grouped_reasons(manifest.internal.incomplete):
        yield f"Not edited: {reason}"
    if manifest.internal.not_run:
        yield f"Not run:    {', '.join(manifest.internal.not_run)}: stored, and as in the base"


def _behaviour(manifest: Manifest) -> str:
    behaviour = manifest.external.parameters.get("report", {}).get("behaviour")
    if not behaviour:
        return "not stated in this folder; a published release states it"
    return " ".join(str(behaviour).split())


def _measured(release: Path) -> str:
    evaluation = _read(Evaluation, release / EVALUATION.name)
    if evaluation is None:
        return f"This folder has no figures: {EVALUATION.name} is added when a release is published."
    text = measured_text(evaluation)
    if evaluation.calibration is not None:
        text += f"\n\n{calibration_text(evaluation.calibration, evaluation.classifier)}"
    return text


def _changed(manifest: Manifest, recipe: Recipe) -> Iterator[str]:
    edited = {name: edit for name, edit in manifest.internal.tensors.items() if edit is not None}
    norms = recipe.settings.norm_preservation
    yield f"{len(edited)} of {len(manifest.internal.tensors)} tensors. Norms ({norms}): {NORMS[norms]}."
    yield from (f"  {pattern}" for pattern in edited_patterns(edited))
    parameters = recipe.parameters
    yield f"The direction is {direction_text(parameters, [parameters])}."
    trial = "No search" if recipe.trial is None else f"Trial {recipe.trial.number} of the search"
    yield f"{trial}; {recipe.selection}."
    rows = [
        [component, *(f"{value:.3g}" for value in kernel.model_dump().values())]
        for component, kernel in kernel_rows(parameters)
    ]
    headers = ["kernel", "strength", "at layer", "lowest strength", "distance (layers)"]
    yield ""
    yield tabulate(rows, headers, "simple", disable_numparse=True, colalign=("left", *["right"] * 4))


def _parameters(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, section in sections.items():
        values = ", ".join(f"{key} {_value_text(value)}" for key, value in flattened(section).items())
        yield from _wrapped(f"{name}: {values}")


def _value_text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{' '.join(map(_value_text, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return "''" if value == "" else str(value)


def _made_with(manifest: Manifest) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for stage, environment in manifest.internal.stages.items():
        groups.setdefault(_environment_text(environment), []).append(stage)
    for text, stages in groups.items():
        yield from _wrapped(text if len(groups) == 1 else f"{', '.join(stages)}: {text}")
    for project in manifest.dependencies("project"):
        commit = project.digest.get("gitCommit", "not stated")
        yield f"Project at commit {commit}, {_CLEAN[manifest.internal.clean]}"
    if manifest.internal.allowed:
        yield f"Published despite: {', '.join(manifest.internal.allowed)}"


def _environment_text(environment: Environment) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    return f"Python {environment.python}, {packages}; {environment.system}, {environment.hardware}"


def _wrapped(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
