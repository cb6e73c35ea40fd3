"""Artifacts of a side, copied: from a release, from the workspace, from a revision whose files are in DVC's cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.support.workspace import commit, run
from unwrite.errors import UnwriteError
from unwrite.history.stored_files import copy_artifacts
from unwrite.schema.paths import EVALUATION, RESPONSES, VERDICTS

PATHS = [EVALUATION, RESPONSES, VERDICTS]
STAGE = f"stages:\n  generate_responses:\n    cmd: 'true'\n    outs: [{RESPONSES}]\n"


def copied(argument: str | None, folder: Path) -> dict[str, str]:
    """What was copied, by path."""
    target = folder / "copied"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    copy_artifacts(argument, PATHS, target)
    return {str(file.relative_to(target)): file.read_text() for file in sorted(target.rglob("*")) if file.is_file()}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One commit, its evaluation in git and its responses in DVC's cache; and changes since."""
    folder = tmp_path / "project"
    (folder / RESPONSES).mkdir(parents=True)
    monkeypatch.chdir(folder)
    run(folder, "git", "init", "--quiet")
    Repo.init(folder).close()
    (folder / "dvc.yaml").write_text(STAGE)
    (folder / ".gitignore").write_text(f"/{RESPONSES}\n")
    (folder / EVALUATION).write_text("{}")
    (folder / RESPONSES / "base.target.jsonl").write_text("before\n")
    with Repo(folder) as repo:
        repo.commit(force=True)
    commit(folder)
    (folder / EVALUATION).write_text("{2}")
    (folder / RESPONSES / "base.target.jsonl").unlink()
    (folder / RESPONSES / "edited.target.jsonl").write_text("after\n")
    return folder


def test_a_revision_has_what_was_committed_and_the_workspace_what_is_there(project: Path, tmp_path: Path) -> None:
    assert copied("HEAD", tmp_path) == {"evaluation.json": "{}", "responses/base.target.jsonl": "before\n"}
    assert copied(None, tmp_path) == {"evaluation.json": "{2}", "responses/edited.target.jsonl": "after\n"}


def test_what_is_in_no_cache_is_left_out(project: Path, tmp_path: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    assert copied("HEAD", tmp_path) == {"evaluation.json": "{}"}


def test_an_unknown_revision_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="git has no such revision"):
        copied("nowhere", tmp_path)


def test_a_release_has_its_files_under_their_names(tmp_path: Path) -> None:
    release = tmp_path / "release"
    (release / "responses").mkdir(parents=True)
    (release / "directions.safetensors").write_bytes(b"")
    (release / "evaluation.json").write_text("{}")
    (release / "responses/base.target.jsonl").write_text("one\n")
    assert copied(str(release), tmp_path) == {"evaluation.json": "{}", "responses/base.target.jsonl": "one\n"}
