"""A wheel holds all that a project needs: the stages, and the demo as files where a clone has links."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.example import ROOT
from tests.support.workspace import ENVIRONMENT, run

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "dvc.yaml", "params.yaml")
FOLDERS = ("unwrite", "prompts", "demo/model")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a wheel, built from what git keeps, is unpacked in."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True, ignore=ignored)
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(folder / "source")], check=True, capture_output=True)
    (wheel,) = folder.glob("unwrite-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_every_file_of_the_package_is_in_it(site: Path) -> None:
    def files(folder: Path) -> set[str]:
        found = [*folder.rglob("*"), *(folder / "projects/demo").glob("*/*")]  # rglob follows no links
        return {str(path.relative_to(folder)) for path in found if path.is_file() and "__pycache__" not in path.parts}

    assert files(site / "unwrite") == files(ROOT / "unwrite")
    assert not any(path.is_symlink() for path in site.rglob("*"))
    assert {path.name.partition("-")[0] for path in site.iterdir()} == {"unwrite"}  # nothing beside the package


@pytest.mark.slow
def test_it_makes_a_project_whose_stages_it_runs(site: Path, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "PYTHONPATH": str(site)}
    init = [sys.executable, "-m", "unwrite.cli", "init", "tea"]
    assert "tea is ready" in run(tmp_path, *init, environment=environment)
    assert (tmp_path / "tea/demo/model/model.safetensors").stat().st_size > 1_000_000
    output = run(tmp_path / "tea", "dvc", "repro", "pin_model", environment=environment)
    assert "Running stage 'list_code'" in output
    assert (tmp_path / "tea/artifacts/base.json").is_file()
