"""dvc.yaml tells the truth: each stage's code deps are its import closure, its params are the sections it reads."""

import re
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from unwrite.pipeline.runs import run_file
from unwrite.schema.params import Params
from unwrite.schema.paths import JUDGE_FILES
from unwrite.stages.merge_model import BEFORE

ROOT = Path(__file__).parents[1]
STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
UNTRACKED = {"runtime"}


def import_closure(script: Path) -> set[str]:
    """Project files that running `script` can import, at the top of a module or inside a function."""
    finder = ModuleFinder(path=[str(ROOT)])
    finder.run_script(str(script))
    # typeshed lacks modulefinder.Module.__file__
    files = [Path(file) for module in finder.modules.values() if (file := getattr(module, "__file__", None))]
    return {str(file.relative_to(ROOT)) for file in files if file.is_relative_to(ROOT)}


def outs(stage: dict[str, Any]) -> set[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def test_every_script_is_a_stage_and_every_stage_a_script() -> None:
    scripts = {path.stem for path in (ROOT / "unwrite/stages").glob("[!_]*.py")}
    assert scripts == {*STAGES, "list_code"}  # the latter in projects that have no code of their own


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_the_import_closure(name: str) -> None:
    listed = {dep for dep in STAGES[name]["deps"] if dep.endswith(".py")}
    closure = import_closure(ROOT / "unwrite/stages" / f"{name}.py")
    assert listed == closure, f"add {sorted(closure - listed)}, remove {sorted(listed - closure)} in dvc.yaml"


def test_the_closure_sees_lazy_imports(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def f():\n    from unwrite.core import kernel\n")
    assert {"unwrite/__init__.py", "unwrite/core/__init__.py", "unwrite/core/kernel.py"} <= import_closure(script)


@pytest.mark.parametrize("name", STAGES)
def test_params_are_the_sections_the_script_reads(name: str) -> None:
    code = (ROOT / "unwrite/stages" / f"{name}.py").read_text()
    read = set(re.findall(r"\bparams\.(?!yaml)(\w+)", code))
    keys = set(re.findall(r"\bparams\.(\w+\.\w+)", code))
    listed = set(STAGES[name].get("params", []))
    assert read <= set(Params.model_fields)
    assert {entry.partition(".")[0] for entry in listed} == read - UNTRACKED
    # A stage that lists keys instead of a section reads these keys, each by its full name, and no others.
    for section in {entry.partition(".")[0] for entry in listed if "." in entry}:
        of_section = {entry for entry in listed if entry.startswith(f"{section}.")}
        assert of_section == {key for key in keys if key.startswith(f"{section}.")}
        assert len(re.findall(rf"\bparams\.{section}\b", code)) == len(re.findall(rf"\bparams\.{section}\.", code))


@pytest.mark.parametrize("name", STAGES)
def test_data_deps_and_outs_are_what_the_script_names(name: str) -> None:
    """Every artifact a stage names is made by an earlier stage, and no two stages make the same one."""
    stage = STAGES[name]
    earlier = set[str]().union(*(outs(other) for other in list(STAGES.values())[: list(STAGES).index(name)]))
    for dep in stage["deps"]:
        if dep.startswith("artifacts/"):
            assert any(dep == out or dep.startswith(f"{out}/") for out in earlier), f"{dep} is made by no earlier stage"
    assert not outs(stage) & earlier
    assert all(out.startswith("artifacts/") for out in outs(stage))


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_described(name: str) -> None:
    assert len(STAGES[name]["desc"]) > 20
    assert STAGES[name]["cmd"] == f"python -m unwrite.stages.{name}"


def test_the_runtime_section_is_tracked_by_no_stage() -> None:
    assert all("runtime" not in stage.get("params", []) for stage in STAGES.values())
    templated = re.findall(r"\$\{(\w+)", (ROOT / "dvc.yaml").read_text())
    assert templated
    assert "runtime" not in templated


def test_no_stage_depends_on_the_model_folder() -> None:
    assert not [dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith(("demo", "${model"))]


def test_another_classifier_generates_nothing_again() -> None:
    reads = {name for name, stage in STAGES.items() if {"judge", "judge.classifier"} & set(stage.get("params", []))}
    lists = {name for name, stage in STAGES.items() if str(JUDGE_FILES) in stage["deps"]}
    assert (reads, lists) == ({"list_inputs", "judge_responses"}, {"judge_responses"})
    markers = {name for name, stage in STAGES.items() if "${judge.markers}" in stage["deps"]}
    assert "judge_responses" in markers
    assert not {"generate_responses", "merge_model"} & markers
    verdicts = {name for name, stage in STAGES.items() if "artifacts/verdicts" in stage["deps"]}
    assert "generate_responses" not in verdicts


def test_every_stage_records_its_run_and_merging_reads_those_before_it() -> None:
    recorded = [name for name, stage in STAGES.items() if "always_changed" not in stage]
    assert set(STAGES) - set(recorded) == {"list_inputs"}
    assert all(str(run_file(name)) in outs(STAGES[name]) for name in recorded)
    before = recorded[: recorded.index("merge_model")]
    assert list(BEFORE) == before
    assert {str(run_file(name)) for name in before} <= set(STAGES["merge_model"]["deps"])
