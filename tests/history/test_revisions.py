"""Directions from a small git and DVC project: its cache, its remote, its workspace; from files; from nowhere."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from dvc.repo import Repo
from torch import Tensor

from tests.support.samples import sample_edit, sample_recipe, sample_writer
from tests.support.workspace import commit, run
from unwrite.errors import UnwriteError
from unwrite.files.tensors import write_tensors
from unwrite.history.revisions import load_side

DIRECTIONS = "artifacts/directions.safetensors"
STAGE = f"""stages:
  compute_directions:
    cmd: python -m stages.compute_directions
    outs: [{DIRECTIONS}]
"""


def vectors(value: float, shape: tuple[int, ...] = (1, 3, 4)) -> dict[str, Tensor]:
    """Tensors of a directions file, told apart by their value."""
    return {name: torch.full(shape, value + i) for i, name in enumerate(("directions", "target_mean", "baseline_mean"))}


def write_directions(path: Path, value: float, **settings: Any) -> None:
    """A directions file."""
    write_tensors(path, vectors(value), settings)


def write_state(folder: Path, value: float, quantile: float) -> None:
    """Directions, parameters and a recipe."""
    write_directions(folder / DIRECTIONS, value, winsorize={"quantile": quantile})
    params = f"directions:\n  winsorize:\n    quantile: {quantile}\nruntime:\n  threads: {value:.0f}\n"
    (folder / "params.yaml").write_text(params)
    recipe = sample_recipe([sample_edit(sample_writer(), value)])
    (folder / "artifacts/edit.json").write_text(recipe.model_dump_json())


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of three commits, before the directions, with them, and with others; pushed; and an experiment."""
    parent = tmp_path_factory.mktemp("pushed")
    folder = parent / "project"
    folder.mkdir()
    run(folder, "git", "init", "--quiet")
    Repo.init(folder).close()
    (folder / ".dvc/config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = ../../remote\n")
    (folder / "params.yaml").write_text("directions: {}\n")
    commit(folder)
    (folder / "dvc.yaml").write_text(STAGE)
    for value, quantile in ((1.0, 0.9), (2.0, 0.99)):
        write_state(folder, value, quantile)
        with Repo(folder) as repo:
            repo.commit(force=True)
            repo.push()  # all_commits=True in the end (3.67) would push the last one's outs only
        commit(folder)
    head = run(folder, "git", "rev-parse", "HEAD").strip()
    run(folder, "git", "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/tidy-name", "HEAD~1")
    return parent


@pytest.fixture
def project(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil, and the folder we are in."""
    shutil.copytree(pushed, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def empty_cache(project: Path) -> None:
    """What a fresh clone lacks."""
    shutil.rmtree(project / ".dvc/cache")
    (project / DIRECTIONS).unlink()


def object_of(store: Path, value: float) -> Path:
    """Where DVC keeps the directions of this value."""
    for path in store.rglob("??/*"):
        if path.read_bytes().endswith(vectors(value)["target_mean"].numpy().tobytes()):
            return path
    raise AssertionError(f"nothing of {value} in {store}")


def first(side_argument: str | None) -> float:
    """The first number of a side's directions."""
    return float(load_side(side_argument).tensors["directions"][0, 0, 0])


def test_everything_of_a_revision(project: Path) -> None:
    (project / "params.yaml").write_text("directions: other\n")
    side = load_side("HEAD~1")
    assert side.name == "HEAD~1"
    assert side.commit == run(project, "git", "rev-parse", "HEAD~1").strip()
    for name, tensor in vectors(1.0).items():
        assert torch.equal(side.tensors[name], tensor.double())
    assert (side.parameters, side.whole) == ({"directions.winsorize.quantile": 0.9}, True)  # runtime: left out
    assert side.recipe is not None
    assert [edit.strength for edit in side.recipe.edits] == [1.0]
    assert not side.notes


def test_other_names_of_a_commit(project: Path) -> None:
    older = load_side("HEAD~1")
    assert older.commit is not None
    for name in (older.commit, older.commit[:7], "tidy-name"):
        assert load_side(name).commit == older.commit


def test_tensors_that_only_the_remote_has(project: Path) -> None:
    empty_cache(project)
    assert first("HEAD~1") == 1
    assert first(None) == 2
    assert not (project / ".dvc/cache/files").exists()  # reading is not fetching


def test_workspace_is_what_lies_there_recorded_or_not(project: Path) -> None:
    (project / DIRECTIONS).unlink()
    write_state(project, 5.0, 0.5)
    side = load_side(None)
    assert (side.name, side.commit, first(None)) == ("the workspace", None, 5)
    assert side.parameters == {"directions.winsorize.quantile": 0.5}
    assert first("HEAD") == 2


def test_from_anywhere_in_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "notes").mkdir()
    monkeypatch.chdir(project / "notes")
    assert (first("HEAD~1"), first(None)) == (1, 2)


def test_file_and_folder_come_before_a_revision_of_that_name(project: Path) -> None:
    write_directions(project / "HEAD/directions.safetensors", 7)
    write_directions(project / "HEAD~1", 8)
    assert (first("HEAD"), first("HEAD~1")) == (7, 8)
    shutil.rmtree(project / "HEAD")
    (project / "HEAD").mkdir()  # a folder that holds none
    assert first("HEAD") == 2


@pytest.mark.parametrize("revision", ["nonsense", "HEAD~9", "HEAD:params.yaml", "", "artifacts"])
def test_unknown_revision(project: Path, revision: str) -> None:
    (project / DIRECTIONS).unlink()
    with pytest.raises(UnwriteError, match=r"is no file, and no folder .* git knows no such revision") as caught:
        load_side(revision)
    assert repr(revision) in str(caught.value)


def test_revision_before_there_were_directions(project: Path) -> None:
    with pytest.raises(UnwriteError, match=r"HEAD~2 has no artifacts/directions.safetensors: name a revision"):
        load_side("HEAD~2")


def test_stage_that_has_not_run(project: Path) -> None:
    for path in ("dvc.lock", DIRECTIONS):
        (project / path).unlink()
    with pytest.raises(UnwriteError, match=r"the workspace has no .*: run `dvc repro compute_directions`"):
        load_side(None)


def test_tensors_nowhere(project: Path) -> None:
    empty_cache(project)
    shutil.rmtree(project.parent / "remote")
    with pytest.raises(
        UnwriteError, match=r"of HEAD is not in DVC's cache, nor on the remote 'store': run `dvc fetch --all"
    ):
        load_side("HEAD")
    (project / ".dvc/config").write_text("")
    with pytest.raises(
        UnwriteError, match=r"not in DVC's cache, and no default remote is set: run `dvc fetch --remote"
    ) as caught:
        load_side(None)
    assert "the workspace" in str(caught.value)


@pytest.mark.parametrize("place", ["project/.dvc/cache", "remote"])
def test_copy_that_is_not_what_was_recorded(project: Path, place: str) -> None:
    if place == "remote":
        empty_cache(project)
    stored = object_of(project.parent / place, 1.0)
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.unlink()
    stored.write_bytes(data)
    with pytest.raises(UnwriteError, match=r"DVC's copy of .* of HEAD~1 is damaged: its md5") as caught:
        load_side("HEAD~1")
    assert f"files/md5/{stored.parent.name}/{stored.name}" in str(caught.value)
    assert first("HEAD") == 2


def test_remote_that_cannot_be_read(project: Path) -> None:
    empty_cache(project)
    config = project / ".dvc/config"
    config.write_text(config.read_text().replace("../../remote", "azure://container/path"))  # needs a plugin
    with pytest.raises(UnwriteError, match=r"DVC can't read HEAD \(.*azure.*`dvc fetch` says more"):
        load_side("HEAD")


def test_project_that_dvc_cannot_read(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: [")
    with pytest.raises(UnwriteError, match=r"DVC can't read the workspace \(.*dvc\.yaml"):
        load_side(None)


def test_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnwriteError, match=r"'HEAD' is no file, .* this is no git repository: run it in the folder"):
        load_side("HEAD")
    with pytest.raises(UnwriteError, match="the workspace has no artifacts"):
        load_side(None)


def test_file_brings_the_settings_stored_in_it(tmp_path: Path) -> None:
    write_state(tmp_path, 3.0, 0.9)
    side = load_side(str(tmp_path / DIRECTIONS))
    assert (side.parameters, side.whole) == ({"directions.winsorize.quantile": 0.9}, False)
    assert side.recipe is None
    assert side.notes == [f"{tmp_path / DIRECTIONS} comes without an edit.json, so recipes can't be compared"]


def test_folder_brings_what_lies_beside_it(tmp_path: Path) -> None:
    write_state(tmp_path, 3.0, 0.9)
    folder = tmp_path / "artifacts"
    side = load_side(str(folder))
    assert side.recipe is not None
    assert (side.parameters, side.whole, side.notes) == ({"directions.winsorize.quantile": 0.9}, False, [])
    shutil.copy(tmp_path / "params.yaml", folder)
    assert load_side(str(folder)).whole


def test_file_of_another_hand_has_no_settings(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(vectors(1.0), tmp_path / "directions.safetensors")
    side = load_side(str(tmp_path))
    assert side.parameters is None
    assert f"the parameters of {tmp_path} are not known" in side.notes


@pytest.mark.parametrize("content", ["", "{}", '{"format": 0}', "not json"])
def test_recipe_of_another_version_is_noted(tmp_path: Path, content: str) -> None:
    write_state(tmp_path, 3.0, 0.9)
    (tmp_path / "artifacts/edit.json").write_text(content)
    side = load_side(str(tmp_path / "artifacts"))
    assert side.recipe is None
    assert "damaged or of another version" in side.notes[0]


@pytest.mark.parametrize("content", [b"", b"- 1", b"a: [", b"\xff\xfe\x00", b"a: 1\na: 2", b"a: 2024-13-45"])
def test_parameters_that_are_no_mapping_are_noted(tmp_path: Path, content: bytes) -> None:
    write_state(tmp_path, 3.0, 0.9)
    (tmp_path / "artifacts/params.yaml").write_bytes(content)
    side = load_side(str(tmp_path / "artifacts"))
    assert side.notes == [f"params.yaml of {tmp_path / 'artifacts'} is no YAML mapping"]
    assert (side.parameters, side.whole) == ({"directions.winsorize.quantile": 0.9}, False)


def test_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "directions.safetensors"
    write_directions(path, 1.0)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:20], b"\xff" * 100, b"text"):
        path.write_bytes(damaged)
        with pytest.raises(UnwriteError, match="is damaged or no safetensors file; expected what `dvc repro"):
            load_side(str(path))


@pytest.mark.parametrize(
    ("tensors", "held"),
    [
        ({"residuals": torch.zeros(2, 2)}, r"residuals \[2, 2\]"),
        ({name: torch.zeros(3, 4) for name in vectors(0)}, r"directions \[3, 4\]"),
        (vectors(0) | {"directions": torch.zeros(1, 2, 4)}, r"directions \[1, 2, 4\]"),
        ({f"{i}": torch.zeros(1) for i in range(9)}, "…"),
        ({}, "nothing"),
    ],
    ids=["residuals", "no positions", "two shapes", "a model", "empty"],
)
def test_file_that_holds_something_else(tmp_path: Path, tensors: dict[str, Tensor], held: str) -> None:
    write_tensors(tmp_path / "other.safetensors", tensors, {})
    with pytest.raises(
        UnwriteError, match=rf"holds no directions: it has .*{held}.*; expected baseline_mean, directions"
    ):
        load_side(str(tmp_path / "other.safetensors"))


def test_directions_that_are_no_numbers(tmp_path: Path) -> None:
    tensors = vectors(1.0)
    tensors["directions"][0, 1, 2] = float("nan")
    write_tensors(tmp_path / "directions.safetensors", tensors, {})
    with pytest.raises(UnwriteError, match="holds NaN or infinity"):
        load_side(str(tmp_path))
