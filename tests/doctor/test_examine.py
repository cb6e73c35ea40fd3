"""A new project passes; each thing that is taken away from it is found."""

from pathlib import Path

import pytest

from unwrite.doctor.examine import examine
from unwrite.projects.create import create_project
from unwrite.projects.new_project import Answers


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    create_project(tmp_path / "tea", Answers(), plots_page="<p>")
    monkeypatch.chdir(tmp_path / "tea")
    return tmp_path / "tea"


def facts(folder: Path, severity: str) -> str:
    return "\n".join(finding.fact for finding in examine(folder) if finding.severity == severity)


def test_a_new_project_passes(project: Path) -> None:
    assert "params.yaml" not in facts(project, "stop")
    assert "The model has 3 MB of weights" in facts(project, "ok")


def test_wrong_parameters_stop_and_the_rest_is_still_examined(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("trials: 60", "trials: none"))
    assert "optimize.trials must be an integer" in facts(project, "stop")
    assert "DVC's cache" in facts(project, "ok")


def test_a_hub_model_that_is_not_pinned_has_no_size_yet(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("source: demo/model", "source: you/your-model"))
    assert "you/your-model is not pinned yet" in facts(project, "ok")


def test_without_a_project_only_the_machine_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = examine(tmp_path)
    assert any(finding.remedy == "`unwrite init DIR` makes one." for finding in found)
    assert not any("DVC's cache" in finding.fact for finding in found)
