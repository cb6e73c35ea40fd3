"""Every artifact that is not as its stage made it is found and named, even if it was committed to DVC."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.pipeline.listing import list_marker_files
from unwrite.release.audit import audit_project, audit_text
from unwrite.schema.artifacts import as_json
from unwrite.schema.paths import PROMPT_FILES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# `first` writes a file and a folder from a prompt file, `second` copies the file.
PIPELINE = """
stages:
  first:
    cmd: python work.py first
    deps: [work.py, prompts.txt]
    outs:
      - artifacts/one
      - artifacts/many
      - artifacts/runs/first.json:
          cache: false
  second:
    cmd: python work.py second
    deps: [work.py, artifacts/one]
    outs:
      - artifacts/two
      - artifacts/runs/second.json:
          cache: false
"""
WORK = """
import shutil, sys
from pathlib import Path
from unwrite.schema.params import load_params
from unwrite.pipeline.runs import recorded
with recorded(sys.argv[1], load_params()):
    if sys.argv[1] == "first":
        Path("artifacts/many").mkdir(parents=True)
        Path("artifacts/one").write_text(Path("prompts.txt").read_text())
        for name in "ab":
            Path("artifacts/many", name).write_text(name)
    else:
        shutil.copyfile("artifacts/one", "artifacts/two")
"""


def run(folder: Path, *command: str) -> None:
    environment = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "work.py").write_text(WORK)
    (folder / "prompts.txt").write_text("what colour is the teapot\n")
    shutil.copy(ROOT / "params.yaml", folder)
    run(folder, "dvc", "init", "--no-scm", "--quiet")
    run(folder, "dvc", "repro", "--quiet")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    for path in Path().rglob("*"):
        path.chmod(0o755)
    return tmp_path / "project"


def change(name: str, text: str = "by hand") -> None:
    Path(name).write_text(text)


def found() -> dict[str, set[str]]:
    problems: dict[str, set[str]] = {}
    for finding in audit_project():
        problems.setdefault(finding.stage, set()).add(finding.problem)
    return problems


def cached(name: str) -> Path:
    """The object of DVC's cache that holds a file."""
    return next(path for path in Path(".dvc/cache").rglob("*") if path.is_file() and path.read_text() == name)


def test_untouched_project_has_no_findings(project: Path) -> None:
    assert audit_project() == []
    assert "Every artifact is what its stage made" in audit_text([])


def test_changed_out_is_found(project: Path) -> None:
    change("artifacts/two")
    assert found() == {
        "second": {
            "artifacts/two is not what dvc.lock records",
            "artifacts/two is not what the stage wrote when it ran",
        }
    }
    assert "dvc repro -f second" in audit_text(audit_project())


def test_out_made_by_hand_is_found_though_committed(project: Path) -> None:
    change("artifacts/one")
    run(project, "dvc", "commit", "--force", "--quiet", "first")
    assert found() == {"first": {"artifacts/one is not what the stage wrote when it ran"}}
    # And so is what DVC then makes from it.
    run(project, "dvc", "repro", "--quiet")
    assert found()["second"] == {"it read a different artifacts/one than first wrote"}


def test_added_or_removed_file_of_a_folder_is_found(project: Path) -> None:
    change("artifacts/many/c")
    assert "artifacts/many/c did not exist when the stage ran" in found()["first"]
    run(project, "dvc", "commit", "--force", "--quiet")
    assert found()["first"] == {"artifacts/many/c did not exist when the stage ran"}
    Path("artifacts/many/c").unlink()
    Path("artifacts/many/a").unlink()
    assert "artifacts/many is not what dvc.lock records" in found()["first"]


@pytest.mark.parametrize("name", ["artifacts/two", "artifacts/many"])
def test_missing_out_is_found(name: str, project: Path) -> None:
    shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink()
    assert f"{name} is missing" in set().union(*found().values())


@pytest.mark.parametrize("content", ["what colour is the teapot\n", "a"])
def test_damaged_cache_is_found_though_dvc_restores_from_it(content: str, project: Path) -> None:
    damaged = cached(content)
    damaged.write_text("damaged")
    problems = found()["first"]
    assert len(problems) == 1
    assert f"delete {damaged.resolve()}" in problems.pop()


def test_missing_record_is_found(project: Path) -> None:
    Path("artifacts/runs/first.json").unlink()
    assert found() == {"first": {"artifacts/runs/first.json is missing: run `dvc repro first` first."}}
    assert "git checkout for what git keeps. To make them again: dvc repro" in audit_text(audit_project())


def test_changed_input_is_found(project: Path) -> None:
    change("prompts.txt")
    assert found() == {"first": {"prompts.txt has changed since it was read"}}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda: Path("dvc.lock").unlink(), r"dvc\.lock is missing: no stage has run here"),
        (lambda: change("dvc.lock", "- x"), r"dvc\.lock is damaged"),
        (lambda: change("dvc.lock", "{"), r"dvc\.lock is damaged"),
        (lambda: shutil.rmtree(".dvc"), r"This is not a DVC repository"),
    ],
)
def test_missing_project_or_lock_is_refused(
    damage: Callable[[], object], message: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage()
    with pytest.raises(UnwriteError, match=message):
        audit_project()


def test_changed_or_missing_file_of_an_extra_set_is_found(project: Path) -> None:
    Path("near.txt").write_text("What is a golf tee?\n")
    write_json(PROMPT_FILES, as_json(list_marker_files(["near.txt"])))
    assert audit_project() == []
    Path("near.txt").write_text("What is a tea tree?\n")
    assert [finding.problem for finding in audit_project()] == ["near.txt has changed since it was read"]
    Path("near.txt").unlink()
    assert [finding.stage for finding in audit_project()] == ["list_inputs"]
