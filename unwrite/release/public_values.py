"""What a manifest may say of paths: of one that leads out of the project, only the last part."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_PATHS = {
    "model.source",
    "tokenize.target",
    "tokenize.target.source",
    "tokenize.baseline",
    "tokenize.baseline.source",
    "tokenize.template",
    "judge.markers",
    "judge.classifier.source",
    "evaluate.sets.*.prompts",
    "evaluate.sets.*.prompts.source",
    "evaluate.sets.*.markers",
    "evaluate.harness.task_folder",
}
"""The parameters that hold a path; `*` is any name."""


def public_path(path: str) -> str:
    """Return a path that is safe to publish: of one that leads out of the project, only the last part."""
    pure = PureWindowsPath(path) if PureWindowsPath(path).drive else PurePosixPath(path)
    leads_out = pure.is_absolute() or ".." in pure.parts or path.startswith("~")
    return pure.name if leads_out else path


def public_parameters(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section of params.yaml with the paths in it made safe to publish."""
    return {key: _public_value(f"{section}.{key}", value) for key, value in values.items()}


def _public_value(place: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return public_parameters(place, value)
    return public_path(value) if any(fnmatch(place, path) for path in _PATHS) and isinstance(value, str) else value
