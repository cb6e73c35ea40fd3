"""A sum changes with the code of its stage alone, and an upgrade names the stages that it makes run again."""

import shutil
from pathlib import Path

import pytest

from tests.support.example import ROOT
from unwrite.pipeline.runs import run_file
from unwrite.projects.installed_code import (
    StageCode,
    changed_code,
    installed_code,
    list_installed_code,
    upgrade_text,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a package is installed; a project's folder is the current one."""
    shutil.copytree(ROOT / "unwrite", tmp_path / "site/unwrite", ignore=shutil.ignore_patterns("__pycache__", "demo"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "site"


def change(home: Path, name: str) -> None:
    with (home / name).open("a") as file:
        file.write("# another line\n")


def test_the_sums_do_not_depend_on_where_the_package_lies(home: Path) -> None:
    assert installed_code(home) == installed_code(ROOT)


def test_another_file_changes_the_stages_that_import_it(home: Path) -> None:
    list_installed_code(installed_code(home))
    assert changed_code(installed_code(home)) == []
    change(home, "unwrite/report/page.py")
    assert changed_code(installed_code(home)) == ["write_report"]
    change(home, "unwrite/models/residuals.py")
    assert {"extract_residuals", "write_report"} <= set(changed_code(installed_code(home)))
    change(home, "unwrite/cli.py")  # which no stage imports
    assert "pin_model" not in changed_code(installed_code(home))


def test_what_was_never_listed_has_not_changed(home: Path) -> None:
    assert changed_code(installed_code(home)) == []


def test_a_list_is_written_only_when_it_changes(home: Path) -> None:
    list_installed_code(installed_code(home))
    files = sorted(Path("artifacts/code").iterdir())
    assert len(files) == len(installed_code(home))
    before = [file.stat().st_ino for file in files]  # a written file is a new one
    list_installed_code(installed_code(home))
    assert [file.stat().st_ino for file in files] == before


def test_a_damaged_list_is_written_again(home: Path) -> None:
    (code, *_) = installed_code(home)
    Path("artifacts/code").mkdir(parents=True)
    file = Path(f"artifacts/code/{code.stage}.json")
    file.write_text("{")
    list_installed_code([code])
    assert StageCode.model_validate_json(file.read_bytes()) == code


@pytest.mark.usefixtures("home")
def test_the_stages_that_ran_are_named_with_both_versions() -> None:
    shutil.copytree(ROOT / "artifacts/runs", "artifacts/runs")
    record = run_file("write_report")
    record.write_text(record.read_text().replace('"unwrite": "0.2.0"', '"unwrite": "0.1.9"'))
    text = upgrade_text(["write_report", "never_ran"])
    assert " in place of 0.1.9: other code of write_report." in text
    assert upgrade_text(["never_ran"]) == ""
    assert upgrade_text([]) == ""
