"""Write a new project, whole or not at all: files, git repository and DVC project."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_folder, copy_file
from unwrite.files.records import write_text
from unwrite.pipeline.environment import package_versions
from unwrite.projects.new_project import Answers, plan_project
from unwrite.projects.pipeline_text import demo_pipeline, project_pipeline
from unwrite.schema.params import PARAMS_FILE, load_params

_TEMPLATES = Path(__file__).parent / "templates"
PLOTS_PAGE = Path(".dvc/plots/page.html")
"""The page of DVC's plots, as the project's DVC configuration names it."""
_COPIED: Mapping[str, str] = {  # template → name in the project; DVC makes the same files with `dvc init --subdir`
    "gitignore": ".gitignore",
    "dvcignore": ".dvcignore",
    "dvc.config": ".dvc/config",
    "dvc.gitignore": ".dvc/.gitignore",
}


def create_project(folder: Path, answers: Answers, *, plots_page: str) -> list[str]:
    """Write a project.

    Args:
        folder: a folder that is empty or does not exist.
        answers: what the user says about the project.
        plots_page: the page that `dvc plots` fills, which needs no network.

    Returns:
        Notes for the user.

    Raises:
        UnwriteError: the folder holds something or cannot be written, git is missing or fails, or as in `plan_project`.
    """
    refuse_occupied(folder)
    if shutil.which("git") is None:
        raise UnwriteError("git is not installed, and DVC keeps a project's versions with it: install git.")
    plan = plan_project(folder, answers)
    target = folder.resolve()
    entries = target.with_name(f".{target.name}.new") if target.is_dir() else target
    with atomic_folder(entries) as temporary:
        for name, source in plan.files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            copy_file(source, temporary / name)
        write_text(temporary / PARAMS_FILE, plan.params)
        params = load_params(temporary / PARAMS_FILE)
        write_text(temporary / "dvc.yaml", project_pipeline(demo_pipeline()))
        for template, name in _COPIED.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(_TEMPLATES / template, temporary / name)
        write_text(temporary / PLOTS_PAGE, plots_page)
        markers = not (temporary / params.judge.markers).is_file()
        readme = _readme(folder.resolve().name, params.model.source, params.report.behaviour, propose=markers)
        write_text(temporary / "README.md", readme)
        inside = _in_repository(target)
        if not inside and (done := _git("init", "--quiet", cwd=temporary)).returncode:
            raise UnwriteError(f"git init failed: {done.stderr.strip()}")
    if entries != target:  # an empty folder is filled, not replaced: somebody may be in it
        for entry in entries.iterdir():
            entry.rename(target / entry.name)
        entries.rmdir()
    notes = [*plan.notes]
    if inside:
        notes.append("It is in a git repository already, and a DVC project of its own there.")
    return notes


def refuse_occupied(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UnwriteError: it is a file, or a folder that is not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise UnwriteError(f"{folder} is a file: name a new folder.")
    found = next(folder.iterdir(), None) if folder.is_dir() else None
    if found is not None:
        raise UnwriteError(f"{folder} is not empty (it holds {found.name}): name a new folder, or an empty one.")


def _readme(name: str, source: str, behaviour: str, *, propose: bool) -> str:
    from jinja2 import Environment, FileSystemLoader

    version = package_versions(["unwrite"]).get("unwrite", "")
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), keep_trailing_newline=True, trim_blocks=True)
    template = environment.get_template("README.md.jinja")
    return template.render(name=name, version=version, source=source, behaviour=behaviour, propose=propose)


def _in_repository(folder: Path) -> bool:
    """Return whether the folder, once it exists, is a part of a git repository that does not ignore it."""
    existing = next(parent for parent in folder.parents if parent.is_dir())
    inside = _git("rev-parse", "--is-inside-work-tree", cwd=existing)
    ignored = _git("check-ignore", "--quiet", str(folder), cwd=existing)
    return inside.stdout.strip() == "true" and ignored.returncode == 1


def _git(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
