"""A project is written whole or not at all, in a repository of its own or as a part of one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.workspace import run
from unwrite.errors import UnwriteError
from unwrite.pipeline.check import check_params
from unwrite.projects import create
from unwrite.projects.create import PLOTS_PAGE, create_project
from unwrite.projects.new_project import Answers


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_new_project_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tea"
    assert create_project(folder, Answers(), plots_page="<p>") == []
    assert names(folder) >= {".git", ".dvc", ".dvcignore", ".gitignore", "README.md", "dvc.yaml", "params.yaml"}
    assert names(tmp_path) == {"tea"}
    readme = (folder / "README.md").read_text()
    assert readme.startswith("# tea\n")
    assert len(readme.splitlines()) <= 10
    assert "unwrite markers" not in readme  # the demo has markers
    assert (folder / PLOTS_PAGE).read_text() == "<p>"
    monkeypatch.chdir(folder)
    assert check_params(Path("params.yaml")) == []


def test_dvc_parses_its_pipeline_and_finds_every_file(tmp_path: Path) -> None:
    create_project(tmp_path / "tea", Answers(), plots_page="<p>")
    dag = run(tmp_path / "tea", "dvc", "dag", "--dot")
    assert '"list_code" -> "pin_model"' in dag
    assert '"list_inputs" -> "pin_model"' in dag
    assert "hardlink" in run(tmp_path / "tea", "dvc", "config", "cache.type")
    assert run(tmp_path / "tea", "dvc", "config", "plots.html_template").strip() == "plots/page.html"


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tea"
    folder.mkdir()
    inode = folder.stat().st_ino
    create_project(folder, Answers(), plots_page="<p>")
    assert folder.stat().st_ino == inode
    assert "dvc.yaml" in names(folder)
    assert names(tmp_path) == {"tea"}


def test_in_a_repository_there_is_no_second_one(tmp_path: Path) -> None:
    run(tmp_path, "git", "init", "--quiet")
    (tmp_path / ".gitignore").write_text("scratch\n")
    (note,) = create_project(tmp_path / "tea", Answers(), plots_page="<p>")
    assert "in a git repository already" in note
    assert ".git" not in names(tmp_path / "tea")
    assert run(tmp_path / "tea", "dvc", "root").strip() == "."
    create_project(tmp_path / "scratch", Answers(), plots_page="<p>")  # which that repository ignores
    assert ".git" in names(tmp_path / "scratch")


def test_a_folder_that_holds_something_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UnwriteError, match=r"is not empty \(it holds notes\.txt\)"):
        create_project(tmp_path, Answers(), plots_page="<p>")
    with pytest.raises(UnwriteError, match=r"notes\.txt is a file"):
        create_project(tmp_path / "notes.txt", Answers(), plots_page="<p>")
    assert names(tmp_path) == {"notes.txt"}


@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_leaves_nothing(exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tea"
    if exists:
        folder.mkdir()
    monkeypatch.setattr(create, "_git", lambda *_, cwd: subprocess.CompletedProcess([], 128, "", "no room"))  # noqa: ARG005
    with pytest.raises(UnwriteError, match="git init failed: no room"):
        create_project(folder, Answers(), plots_page="<p>")
    assert names(tmp_path) == ({"tea"} if exists else set())
    assert not exists or names(folder) == set()


def test_without_git_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UnwriteError, match="git is not installed"):
        create_project(tmp_path / "tea", Answers(), plots_page="<p>")
    assert names(tmp_path) == set()
