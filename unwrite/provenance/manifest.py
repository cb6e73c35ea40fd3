"""The manifest of a release: an in-toto statement with a SLSA provenance predicate, written beside the weights.

A first version: it names every file, what they were made from and with, and what was done to each tensor. It does not
list prompts or residuals yet. It records the project's commit, so the same model merged at another commit has another
manifest; nothing else in a release depends on when or where it was made.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unwrite.artifacts import Base, Edit, FileDigest, Place, Recipe

MANIFEST = "provenance.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:unwrite:directional-ablation:v1"
_PACKAGES = ("unwrite", "torch", "transformers", "safetensors", "numpy")


def build_manifest(
    base: Base, recipe: Recipe, tensors: Iterable[str], files: Iterable[FileDigest], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The statement as JSON values.

    Args:
        base: The pinned model.
        recipe: The edit that was applied.
        tensors: Every tensor of the checkpoint.
        files: Every file of the release, the manifest itself excepted.
        settings: How the directions were computed.
    """
    edited = {
        place.tensor: _described(edit, place)
        for edit in recipe.edits
        for layout in (edit.matrix, edit.bias)
        for place in (layout.stored if layout is not None else [])
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": [_descriptor(file) for file in files],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "base": {"source": _public_source(base), "commit": base.commit},
                    "directions": dict(settings),
                    "recipe": recipe.model_dump(mode="json", exclude={"edits"}),
                },
                "internalParameters": {
                    "tensors": {name: edited.get(name) for name in tensors},
                    "completeness": base.completeness,
                    "incomplete": base.incomplete,
                },
                "resolvedDependencies": [_descriptor(file) for file in base.files],
            },
            "runDetails": {
                "builder": {"id": "urn:unwrite:merge_model", "version": _versions()},
                # Names of our own have an underscore, as SLSA asks of extensions.
                "metadata": {"unwrite_machine": platform.machine(), "unwrite_git": _git_state()},
            },
        },
    }


def _described(edit: Edit, place: Place) -> dict[str, Any]:
    """What was done to one tensor: which writer's it is, how its matrices lie, what was taken out of each."""
    return {
        "layer": edit.layer,
        "component": edit.component,
        "axis": place.axis,
        "groups": place.groups,
        "weight": edit.weight,
        "direction": edit.direction.model_dump(),
        "norms": [{"tensor": norm.tensor, "offset": norm.offset} for norm in edit.norms],
    }


def _public_source(base: Base) -> str:
    """A hub id, or the name of a local folder: its path would tell whose machine made the release."""
    return base.source if base.commit is not None else Path(base.source).resolve().name


def _descriptor(file: FileDigest) -> dict[str, Any]:
    return {"name": file.name, "digest": {"sha256": file.sha256}, "annotations": {"size": file.size}}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git_state() -> dict[str, Any]:
    """The commit of the project, and whether its tree was clean; both null outside a repository."""
    # The pipeline itself writes these two while it runs.
    made = [":(exclude)dvc.lock", ":(exclude)artifacts"]
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *made)
    return {"commit": commit, "clean": None if status is None else status == ""}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=Path.cwd())
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
