"""Missing packages, versions that are not allowed, and another Python on PATH are found, each with its remedy."""

import sys
from pathlib import Path

import pytest

from unwrite.doctor.installation import examine_installation, package_problems, python_of_stages


def test_installed_packages_of_the_extra_are_no_problem() -> None:
    assert list(package_problems(["click>=1", 'pydantic>=1; extra == "pipeline"'])) == []


def test_a_missing_package_names_the_extra() -> None:
    (found,) = package_problems(['no-such-package; extra == "pipeline"', 'neither-this; extra == "maps"'])
    assert (found.severity, found.fact) == ("stop", "no-such-package is not installed.")
    assert found.remedy == "pip install 'unwrite[pipeline]'."


def test_a_version_out_of_range_is_named_with_the_range() -> None:
    (found,) = package_problems(["click>=999"])
    assert found.severity == "stop"
    assert "unwrite allows >=999" in found.fact
    assert "pip install --upgrade" in found.remedy


def python_that(folder: Path, script: str) -> None:
    (folder / "python").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "python").chmod(0o755)


def test_the_python_of_stages_is_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python_that(tmp_path, f'exec "{sys.executable}" "$@"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert python_of_stages().severity == "ok"


@pytest.mark.parametrize(
    ("script", "fact"), [("exit 1", "which has no unwrite"), ("echo /other/unwrite/__init__.py", "another unwrite")]
)
def test_a_python_with_another_unwrite_or_none_stops_the_pipeline(
    script: str, fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_that(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = python_of_stages()
    assert (found.severity, fact in found.fact) == ("stop", True)
    assert "activate" in found.remedy


def test_without_git_and_python_both_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = [found.fact for found in examine_installation() if found.severity == "stop"]
    assert any("no `python` on PATH" in fact for fact in facts)
    assert any("git is not installed" in fact for fact in facts)
