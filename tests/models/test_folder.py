"""A local model is found in the project that a temporary copy belongs to, and nowhere else."""

from pathlib import Path

import pytest

from unwrite.models.folder import local_folder, parent_project


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a model, and a temporary copy of it without, as DVC makes them; we are in the copy."""
    (tmp_path / "models/tea").mkdir(parents=True)
    copy = tmp_path / ".dvc/tmp/exps/standalone/one"
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return copy


def test_a_copy_finds_the_model_of_the_original(copy: Path, tmp_path: Path) -> None:
    assert parent_project() == tmp_path
    assert local_folder("models/tea") == tmp_path / "models/tea"
    (copy / "models/tea").mkdir(parents=True)  # one that git has: it belongs to the experiment's commit
    assert local_folder("models/tea") == Path("models/tea")


def test_a_copy_of_a_project_with_a_pipeline_in_a_folder(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "example").mkdir()
    (tmp_path / "example/model").mkdir(parents=True)
    monkeypatch.chdir(copy / "example")
    assert local_folder("model") == tmp_path / "example/model"


@pytest.mark.usefixtures("copy")
def test_hub_ids_and_absolute_paths_stay(tmp_path: Path) -> None:
    for source in ("teaware/kettle", str(tmp_path / "models/tea"), str(tmp_path / "none")):
        assert local_folder(source) == Path(source)


@pytest.mark.usefixtures("copy")
def test_the_project_itself_has_no_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parent_project() is None
    monkeypatch.delenv("DVC_ROOT")
    assert parent_project() is None
