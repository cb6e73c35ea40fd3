"""Each stage needs only its deps in dvc.yaml, and writes only its outs."""

import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.small_project import ROOT, run_stage, small_params

PIPELINE: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]

# base.json refers to the model, and lists of files to prompts; dvc.yaml lists the files in the run's record.
PROMPTS = [Path("prompts") / name for name in ("teaware.jsonl", "ordinary.jsonl", "near_misses.jsonl")]
UNNAMED = [Path("demo/model"), *PROMPTS, Path("dvc.yaml")]


def data_deps(stage: dict[str, Any]) -> list[Path]:
    params = small_params()
    places = {
        "${judge.markers}": params.judge.markers,
    }
    return [Path(places.get(dep, dep)) for dep in stage["deps"] if not dep.startswith("unwrite/")]


def outs(stage: dict[str, Any]) -> list[Path]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [Path(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in entries]


@pytest.mark.parametrize("name", PIPELINE)
def test_a_stage_needs_only_its_deps_and_writes_only_its_outs(name: str, finished: Path, tmp_path: Path) -> None:
    stage = PIPELINE[name]
    given = [*data_deps(stage), *UNNAMED]
    for path in given:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (finished / path).is_dir() else shutil.copy)(finished / path, target)
    with chdir(tmp_path):
        run_stage(name, small_params())
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    # .unwrite is local and ignored by git and DVC: locks, and the record of the search.
    made = {path for path in files if not any(path.is_relative_to(old) for old in (*given, Path(".unwrite")))}
    assert all((tmp_path / out).exists() for out in outs(stage))
    assert all(any(path.is_relative_to(out) for out in outs(stage)) for path in made)


@pytest.mark.parametrize("name", [name for name in PIPELINE if name not in {"pin_model", "run_benchmarks"}])
def test_every_data_dep_is_needed(name: str, finished: Path, tmp_path: Path) -> None:
    """The control: a stage that runs without one of its deps would rerun for nothing."""
    deps = data_deps(PIPELINE[name])
    for missing in deps:
        folder = tmp_path / "_".join(missing.parts)  # two records have the same name
        for path in [*deps, *UNNAMED]:
            if path != missing:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if (finished / path).is_dir() else shutil.copy)(finished / path, target)
        with chdir(folder), pytest.raises(Exception, match=r"."):
            run_stage(name, small_params())
