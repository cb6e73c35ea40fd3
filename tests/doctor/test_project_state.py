"""Parameters, folders, git and upgrades: what stops the pipeline and what is worth a note."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.example import ROOT
from tests.support.workspace import commit, run
from unwrite.doctor.project_state import (
    examine_folders,
    examine_git,
    examine_params,
    examine_upgrade,
    runs_here,
)
from unwrite.projects.create import create_project
from unwrite.projects.installed_code import installed_code, list_installed_code
from unwrite.projects.new_project import Answers


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    create_project(tmp_path / "tea", Answers(), plots_page="<p>")
    monkeypatch.chdir(tmp_path / "tea")
    return tmp_path / "tea"


def test_valid_parameters_are_fine_and_a_missing_file_stops() -> None:
    assert [finding.severity for finding in examine_params()] == ["ok"]
    Path("prompts/declines.txt").unlink()
    (found,) = examine_params()
    assert found.severity == "stop"
    assert "unwrite markers --write prompts/declines.txt" in found.fact


def test_a_folder_that_cannot_be_written_stops(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(examine_folders(project)) == []
    monkeypatch.setattr(os, "access", lambda path, _: path != project / ".dvc")
    (found,) = examine_folders(project)
    assert (found.severity, str(project / ".dvc") in found.fact) == ("stop", True)


def test_git_is_told_without_commit_changed_and_clean(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.fact for finding in examine_git()] == ["git has no commit yet, so runs record none."]
    commit(project)
    assert [finding.severity for finding in examine_git()] == ["ok"]
    Path("params.yaml").write_text("changed")
    (found,) = examine_git()
    assert (found.severity, "params.yaml" in found.fact) == ("note", True)
    monkeypatch.chdir(project.parent)
    (found,) = examine_git()
    assert "not a git repository" in found.fact
    assert "git init" in found.remedy


def test_a_repository_of_another_owner_needs_no_new_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(project)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    (found,) = examine_git()
    assert "safe.directory" in found.fact
    assert "git init" not in found.remedy


def test_an_upgrade_is_named(project: Path) -> None:
    list_installed_code(installed_code())
    shutil.copytree(ROOT / "artifacts/runs", project / "artifacts/runs")
    assert list(examine_upgrade()) == []
    listed = Path("artifacts/code/pin_model.json")
    listed.write_text(listed.read_text().replace('"files": ', '"files": 1'))
    (found,) = examine_upgrade()
    assert (found.severity, "other code of pin_model" in found.fact) == ("note", True)


def test_a_folder_without_a_pipeline_is_no_project(project: Path) -> None:
    assert runs_here()
    Path("dvc.yaml").write_text("stages: {}\n")
    assert not runs_here()
    Path("dvc.yaml").unlink()
    assert not runs_here()
    assert run(project, "git", "status", "--short")  # the fixture's repository is untouched
