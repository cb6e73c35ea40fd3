"""A project's pipeline is the demo's, with one sum in place of the code files of each stage."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.example import ROOT
from unwrite.projects.pipeline_text import CODE, DEMO, code_of_stages, demo_pipeline, project_pipeline

OURS: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")
DERIVED: dict[str, Any] = YAML(typ="safe").load(project_pipeline(demo_pipeline()))


def is_code(dep: str) -> bool:
    return dep.startswith("unwrite/")


def test_the_demo_is_the_project_of_this_repository() -> None:
    assert demo_pipeline() == (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert (DEMO / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    for folder, original in (("prompts", "prompts"), ("model", "demo/model")):
        names = {path.name for path in (ROOT / original).iterdir()}
        assert {path.name for path in (DEMO / folder).iterdir()} == names


@pytest.mark.parametrize("name", OURS["stages"])
def test_a_stage_depends_on_its_sum_and_on_everything_else_as_before(name: str) -> None:
    ours, derived = OURS["stages"][name], DERIVED["stages"][name]
    assert derived["deps"] == [f"{CODE}/{name}.json", *(dep for dep in ours["deps"] if not is_code(dep))]
    assert {**derived, "deps": None} == {**ours, "deps": None}


def test_the_sums_are_written_by_a_stage_that_always_runs() -> None:
    assert list(DERIVED["stages"]) == ["list_code", *OURS["stages"]]
    stage = DERIVED["stages"]["list_code"]
    assert stage["always_changed"] is True
    assert stage["cmd"] == "python -m unwrite.stages.list_code"
    assert stage["outs"] == [{str(CODE): {"cache": False, "persist": True}}]
    assert "deps" not in stage


def test_plots_and_artifacts_stay() -> None:
    assert OURS.keys() > {"stages"}
    assert {**DERIVED, "stages": None} == {**OURS, "stages": None}


def test_the_code_of_a_stage_is_what_dvc_yaml_lists() -> None:
    codes = code_of_stages(demo_pipeline())
    assert codes == {name: [dep for dep in stage["deps"] if is_code(dep)] for name, stage in OURS["stages"].items()}
    assert all((ROOT / file).is_file() for files in codes.values() for file in files)
