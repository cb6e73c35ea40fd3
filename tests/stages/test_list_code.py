"""The stage lists the code of every stage, and names an upgrade once."""

from pathlib import Path

import pytest

from unwrite.pipeline.runs import run_file
from unwrite.projects.installed_code import installed_code
from unwrite.schema.params import Params
from unwrite.stages.list_code import list_code


@pytest.mark.usefixtures("project")
def test_every_stage_has_its_sum(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    list_code(params)
    assert {path.stem for path in Path("artifacts/code").iterdir()} == {code.stage for code in installed_code()}
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("project")
def test_another_code_is_named_once(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    list_code(params)
    listed = Path("artifacts/code/select_trial.json")
    before = listed.read_text()
    listed.write_text(before.replace('"files": ', '"files": 1'))
    assert run_file("select_trial").is_file()
    list_code(params)
    assert "other code of select_trial." in capsys.readouterr().err
    assert listed.read_text() == before
    list_code(params)
    assert capsys.readouterr().err == ""
