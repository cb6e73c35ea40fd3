"""Directions from a small git and DVC project: its cache, its remote, its workspace; from files; from nowhere."""

import json
import re
import shutil
from pathlib import Path

import pygit2
import pytest
import torch
from click.testing import CliRunner
from dvc.repo import Repo

from tests.support.sides import DIRECTIONS, vectors, write_directions, write_state
from tests.support.workspace import commit, run
from unwrite.cli import main
from unwrite.errors import UnwriteError
from unwrite.history.revisions import load_side

STAGE = f"""stages:
  compute_directions:
    cmd: python -m unwrite.stages.compute_directions
    outs: [{DIRECTIONS}]
"""


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
    tensors = load_side(side_argument).tensors
    assert tensors is not None
    return float(tensors["directions"][0, 0, 0])


def test_revision_has_directions_parameters_and_recipe(project: Path) -> None:
    (project / "params.yaml").write_text("directions: other\n")
    side = load_side("HEAD~1")
    assert side.name == "HEAD~1"
    assert side.commit == run(project, "git", "rev-parse", "HEAD~1").strip()
    assert side.tensors is not None
    for name, tensor in vectors(1.0).items():
        assert torch.equal(side.tensors[name], tensor.double())
    assert (side.parameters, side.whole) == ({"directions.winsorize.quantile": 0.9}, True)  # runtime: left out
    assert side.recipe is not None
    assert [edit.strength for edit in side.recipe.edits] == [1.0]
    assert not side.notes


def test_every_name_of_a_commit_is_resolved(project: Path) -> None:
    older = load_side("HEAD~1")
    assert older.commit is not None
    for name in (older.commit, older.commit[:7], "tidy-name"):
        assert load_side(name).commit == older.commit


def test_directions_are_read_from_the_remote(project: Path) -> None:
    empty_cache(project)
    assert first("HEAD~1") == 1
    assert first(None) == 2
    assert not (project / ".dvc/cache/files").exists()  # reading is not fetching


def test_workspace_is_read_as_it_is(project: Path) -> None:
    (project / DIRECTIONS).unlink()
    write_state(project, 5.0, 0.5)
    side = load_side(None)
    assert (side.name, side.commit, first(None)) == ("the workspace", None, 5)
    assert side.parameters == {"directions.winsorize.quantile": 0.5}
    assert first("HEAD") == 2


def test_any_folder_of_the_project_will_do(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "notes").mkdir()
    monkeypatch.chdir(project / "notes")
    assert (first("HEAD~1"), first(None)) == (1, 2)


def test_a_project_in_a_folder_of_another_is_read_for_itself(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = project / "examples/inner"
    inner.mkdir(parents=True)
    Repo.init(inner, subdir=True).close()
    (inner / "dvc.yaml").write_text(STAGE)
    monkeypatch.chdir(inner)
    write_state(inner, 3.0, 0.9)
    with Repo(inner) as repo:
        repo.commit(force=True)
    commit(project)
    (inner / DIRECTIONS).unlink()
    write_state(inner, 4.0, 0.9)
    assert (first("HEAD"), first(None)) == (3, 4)
    with pytest.raises(UnwriteError, match=r"HEAD~1 has no artifacts/directions.safetensors"):  # the outer project has
        load_side("HEAD~1")
    monkeypatch.chdir(project)
    assert (first("HEAD"), first(None)) == (2, 2)


def test_file_or_folder_is_preferred_to_a_revision(project: Path) -> None:
    write_directions(project / "HEAD/directions.safetensors", 7)
    write_directions(project / "HEAD~1", 8)
    assert (first("HEAD"), first("HEAD~1")) == (7, 8)
    shutil.rmtree(project / "HEAD")
    (project / "HEAD").mkdir()  # a folder that holds none
    assert first("HEAD") == 2


@pytest.mark.parametrize("revision", ["nonsense", "HEAD~9", "HEAD:params.yaml", "", "artifacts"])
def test_unknown_revision_is_refused(project: Path, revision: str) -> None:
    (project / DIRECTIONS).unlink()
    with pytest.raises(UnwriteError, match=r"is neither a file nor a folder .* git has no such revision") as caught:
        load_side(revision)
    assert repr(revision) in str(caught.value)


def test_revision_without_directions_is_refused(project: Path) -> None:
    with pytest.raises(UnwriteError, match=r"HEAD~2 has no artifacts/directions.safetensors: name a revision"):
        load_side("HEAD~2")


def test_workspace_without_directions_is_refused(project: Path) -> None:
    for path in ("dvc.lock", DIRECTIONS):
        (project / path).unlink()
    with pytest.raises(UnwriteError, match=r"the workspace has no .*: run `dvc repro compute_directions`"):
        load_side(None)


def test_directions_of_a_revision_in_no_cache_are_noted(project: Path) -> None:
    empty_cache(project)
    shutil.rmtree(project.parent / "remote")
    side = load_side("HEAD")
    assert side.tensors is None
    assert (side.parameters, side.whole) == ({"directions.winsorize.quantile": 0.99}, True)
    assert side.recipe is not None
    assert side.notes == [
        f"{DIRECTIONS} of HEAD is in no cache (the remote 'store' was searched too), so directions cannot be compared"
    ]
    (project / ".dvc/config").write_text("")
    assert "(no default remote is set)" in load_side("HEAD").notes[0]


def test_directions_of_the_workspace_in_no_cache_are_an_error(project: Path) -> None:
    empty_cache(project)
    shutil.rmtree(project.parent / "remote")
    with pytest.raises(
        UnwriteError, match=r"of the workspace is in no cache \(the remote 'store' was searched too\): run `dvc repro`"
    ):
        load_side(None)
    (project / ".dvc/config").write_text("")
    with pytest.raises(UnwriteError, match=r"of the workspace is in no cache \(no default remote is set\)"):
        load_side(None)


def diff(*arguments: str) -> str:
    """What `unwrite diff` prints, with exit code 0."""
    done = CliRunner().invoke(main, ["diff", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_diff_after_a_fresh_clone_compares_parameters_and_recipes(project: Path) -> None:
    """The record of HEAD~1 is committed, but its tensors are in no cache; the pipeline has just run."""
    object_of(project / ".dvc/cache", 1.0).unlink()
    object_of(project.parent / "remote", 1.0).unlink()
    output = diff("HEAD~1")
    assert re.search(r"^directions\.winsorize\.quantile +0\.9 +0\.99$", output, re.MULTILINE)
    assert re.search(r"^0\.mlp\.weight +1 +2 ", output, re.MULTILINE)
    assert "Lowest cosine" not in output
    notes = [line for line in output.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert notes[0].startswith(f"note: {DIRECTIONS} of HEAD~1 is in no cache")
    comparison = json.loads(diff("HEAD~1", "--json"))
    assert (comparison["identical"], comparison["directions"], comparison["a"]["shape"]) == (False, None, None)
    assert diff("HEAD").startswith("identical: ")  # the control: those of HEAD are in the cache


def test_diff_with_a_recipe_of_an_earlier_format_compares_the_rest(project: Path) -> None:
    recipe = project / "artifacts/edit.json"
    recipe.write_text('{"format": 1, "trial": {"number": 3}}')
    commit(project)
    write_state(project, 3.0, 0.999)
    output = diff("HEAD")
    assert "Lowest cosine" in output
    assert re.search(r"^directions\.winsorize\.quantile +0\.99 +0\.999$", output, re.MULTILINE)
    notes = [line for line in output.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: edit.json of HEAD has format 1, which unwrite 0.1 reads; this version reads format 2; "
        "recipes cannot be compared."
    ]


@pytest.mark.parametrize("place", ["project/.dvc/cache", "remote"])
def test_damaged_copy_is_refused(project: Path, place: str) -> None:
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


def test_unreadable_remote_is_named(project: Path) -> None:
    empty_cache(project)
    config = project / ".dvc/config"
    config.write_text(config.read_text().replace("../../remote", "azure://container/path"))  # needs a plugin
    with pytest.raises(UnwriteError, match=r"DVC cannot read HEAD \(.*azure.*run `dvc fetch` for details"):
        load_side("HEAD")


def test_unreadable_project_is_named(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: [")
    with pytest.raises(UnwriteError, match=r"DVC cannot read the workspace \(.*dvc\.yaml"):
        load_side(None)


def test_a_repository_of_another_owner_is_refused_with_the_remedy(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise pygit2.GitError(f"{project}/.git/: repository path '{project}' is not owned by current user")

    assert load_side("HEAD").commit is not None
    monkeypatch.setattr("dvc.scm.resolve_rev", refuse)
    with pytest.raises(
        UnwriteError, match=r"is not owned by current user\. If you trust its owner, run `git config"
    ) as caught:
        load_side("HEAD")
    assert "\n" not in str(caught.value)


def test_outside_a_repository_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnwriteError, match=r"'HEAD' is neither a file .* this is not a git repository"):
        load_side("HEAD")
    with pytest.raises(UnwriteError, match="the workspace has no artifacts"):
        load_side(None)
