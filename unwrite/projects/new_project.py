"""What a new project holds: its parameters, prompts and texts, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.marker_lists import read_markers
from unwrite.files.prompt_sets import check_no_shared_prompts, read_local_prompts
from unwrite.projects.pipeline_text import DEMO
from unwrite.projects.splits import fitted_splits, splits_text
from unwrite.schema.edited_yaml import edited_yaml
from unwrite.schema.params import PARAMS_FILE, PromptSource

_MARKERS = "prompts/markers.txt"


class Answers(NamedTuple):
    """What the user says about a project; None: the demo's, or to be found out later.

    `target` and `baseline` are files or folders of data sets; `column` and `split` say where in both the prompts are.
    """

    model: str | None = None
    revision: str | None = None
    target: Path | None = None
    baseline: Path | None = None
    markers: Path | None = None
    behaviour: str | None = None
    column: str | None = None
    split: str | None = None


class ProjectPlan(NamedTuple):
    """What to write: parameters, and the source of each file of the project; and what to tell the user."""

    params: str
    files: Mapping[str, Path]
    notes: list[str]


def plan_project(folder: Path, answers: Answers) -> ProjectPlan:
    """Decide what a project holds.

    Args:
        folder: the project's folder, which need not exist.
        answers: of the user.

    Raises:
        UnwriteError: a file cannot be used, there are too few prompts, or answers are missing that others need.
    """
    demo_params = (DEMO / PARAMS_FILE).read_text(encoding="utf-8")
    if answers.model is None:
        if any(answer is not None for answer in answers):
            raise UnwriteError("the demo has prompts and markers of its own: name your model with --model.")
        return ProjectPlan(demo_params, _demo_files("prompts", "prompts") | _demo_files("model", "demo/model"), [])
    changes = {
        "model.source": _source(answers.model, folder),
        "model.revision": answers.revision,
        "score.reference_ceiling": None,
        "runtime.threads": 0,
    }
    if answers.target is not None and answers.baseline is not None:
        files, own, notes = _own_prompts(folder, answers.target, answers.baseline, answers)
        own["report.behaviour"] = answers.behaviour or "shows the behaviour of the target prompts"
        if answers.behaviour is None:
            notes.append("say what the behaviour is before you publish: report.behaviour in params.yaml.")
        return ProjectPlan(edited_yaml(demo_params, changes | own), files, notes)
    if any(answer is not None for answer in answers[2:]):
        raise UnwriteError("give both --target and --baseline; --markers, --behaviour and others are about them.")
    notes = ["prompts/ holds the demo's prompts and markers, as examples: put yours in their place."]
    return ProjectPlan(edited_yaml(demo_params, changes), _demo_files("prompts", "prompts"), notes)


def _demo_files(folder: str, target: str) -> dict[str, Path]:
    """Return the files of a folder of the demo, by their name in the project."""
    return {f"{target}/{path.name}": path for path in sorted((DEMO / folder).iterdir())}


def _source(model: str, folder: Path) -> str:
    """Return a model's source as the project's folder sees it."""
    path = Path(model).expanduser()
    if path.exists():
        return str(path) if path.is_absolute() else os.path.relpath(path, folder)
    if path.is_absolute() or model.startswith(".") or model.count("/") > 1:
        raise UnwriteError(f"--model must be a folder or a hub id such as Qwen/Qwen3-4B, got {model}: no such folder.")
    return model


def _own_prompts(
    folder: Path, target: Path, baseline: Path, answers: Answers
) -> tuple[dict[str, Path], dict[str, Any], list[str]]:
    """Return the files to copy, the parameters that name them, and notes. Folders stay where they are."""
    copied = [path for path in (target, baseline) if not path.is_dir()]
    names = _distinct_names(*copied, answers.markers or Path(_MARKERS))
    sets = {"target": target, "baseline": baseline}
    where = {name: _where(path, answers) for name, path in sets.items()}
    prompts = {
        name: read_local_prompts(PromptSource.model_validate({"source": str(path), **where[name]}))
        for name, path in sets.items()
    }
    counts = len(prompts["target"]), len(prompts["baseline"])
    splits = fitted_splits(*counts)
    used = sum(splits.values())
    check_no_shared_prompts({name: {"prompts": rows[:used]} for name, rows in prompts.items()})
    notes = [splits_text(splits, *counts)]
    files = {f"prompts/{names[path]}": path for path in copied}
    sources = {
        name: f"prompts/{names[path]}" if path in copied else _source(str(path), folder) for name, path in sets.items()
    }
    changes: dict[str, Any] = {
        **{
            f"tokenize.{name}": {"source": source, **where[name]} if where[name] else source
            for name, source in sources.items()
        },
        **{f"tokenize.splits.{name}": size for name, size in splits.items()},
        "evaluate.sets": {},
        "judge.markers": _MARKERS,
    }
    if answers.markers is not None:
        read_markers(answers.markers)
        files[f"prompts/{names[answers.markers]}"] = answers.markers
        changes["judge.markers"] = f"prompts/{names[answers.markers]}"
    return files, changes, notes


def _where(path: Path, answers: Answers) -> dict[str, str]:
    """Return where in a file or data set its prompts are, as params.yaml says it; a file has no splits."""
    given = {"column": answers.column, "split": answers.split if path.is_dir() else None}
    return {key: value for key, value in given.items() if value is not None}


def _distinct_names(*paths: Path) -> dict[Path, str]:
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise UnwriteError(f"prompts and markers need different file names, got {', '.join(names)}.")
    return dict(zip(paths, names, strict=True))
