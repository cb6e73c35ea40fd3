"""The key of a search: inputs, code, libraries and format decide it, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.example import ROOT
from unwrite.search import key as module
from unwrite.search.key import search_key

STAGE = ROOT / "unwrite/stages/optimize_weights.py"


def copy_package(folder: Path) -> None:
    shutil.copytree(ROOT / "unwrite", folder / "unwrite", ignore=shutil.ignore_patterns("__pycache__"))


def test_the_key_depends_on_everything_that_decides_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    key = search_key({"a": 1, "b": [0.1]}, STAGE)
    assert key == search_key({"b": [0.1], "a": 1}, STAGE)
    assert key != search_key({"a": 1, "b": [0.2]}, STAGE)
    monkeypatch.setattr(module, "SEARCH_FORMAT", 99)
    assert key != search_key({"a": 1, "b": [0.1]}, STAGE)
    monkeypatch.undo()
    monkeypatch.setattr(module, "version", lambda name: f"another {name}")
    assert key != search_key({"a": 1, "b": [0.1]}, STAGE)


def test_the_key_depends_on_the_code_that_the_stage_imports_and_no_other(tmp_path: Path) -> None:
    copy_package(tmp_path)
    stage = tmp_path / "unwrite/stages/optimize_weights.py"
    key = search_key({}, stage)
    assert key == search_key({}, STAGE)  # independent of the project's path
    for other in (
        "unwrite/cli.py",
        "unwrite/commands/project.py",
        "unwrite/report/page.py",
        "unwrite/core/geometry.py",
        "unwrite/stages/select_trial.py",
    ):
        with (tmp_path / other).open("a") as file:
            file.write("# another line\n")
        assert search_key({}, stage) == key, other
    for part in (
        "unwrite/core/edit.py",
        "unwrite/search/samplers.py",
        "unwrite/__init__.py",
        "unwrite/stages/optimize_weights.py",
    ):
        before = (tmp_path / part).read_text()
        (tmp_path / part).write_text(before + "# another line\n")
        assert search_key({}, stage) != key, part
        (tmp_path / part).write_text(before)
    assert search_key({}, stage) == key


def test_the_key_of_an_installed_package_reads_no_package_beside_it(tmp_path: Path) -> None:
    copy_package(tmp_path)
    for name in ("torch", "optuna"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("(")  # which nothing can parse
    (tmp_path / "ruamel/yaml").mkdir(parents=True)  # a namespace: no __init__.py
    (tmp_path / "ruamel/yaml/__init__.py").write_text("(")
    (tmp_path / "numpy.py").write_text("(")
    assert search_key({}, tmp_path / "unwrite/stages/optimize_weights.py") == search_key({}, STAGE)
