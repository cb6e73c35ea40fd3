"""A project in a folder of the repository, as the examples are: its pipeline runs there, and only there."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from examples.derive_pipeline import derived_pipeline
from tests.support.workspace import ORDER, commit, is_up_to_date, make_workspace, run, stages_that_ran, unwrite


@pytest.fixture(scope="module")
def outer(tmp_path_factory: pytest.TempPathFactory, warm: Mapping[str, str]) -> Path:
    """A project, never run, with one in a folder of it in which every stage has run and is committed."""
    outer = make_workspace(tmp_path_factory.mktemp("outer"))
    inner = outer / "examples/small"
    for name in ("prompts", "demo/model"):
        shutil.copytree(outer / name, inner / name)
    for name in ("params.yaml", ".dvcignore"):
        shutil.copy(outer / name, inner)
    (inner / "dvc.yaml").write_text(derived_pipeline((outer / "dvc.yaml").read_text()))
    run(inner, "dvc", "init", "--quiet", "--subdir")
    shutil.copy(outer / ".dvc/config", inner / ".dvc/config")
    commit(outer)
    assert stages_that_ran(run(inner, "dvc", "repro", environment=warm)) == set(ORDER)
    commit(outer)
    return outer


def test_the_pipeline_in_the_folder_is_complete(outer: Path) -> None:
    inner = outer / "examples/small"
    assert is_up_to_date(inner)
    assert "Every artifact is what its stage made" in unwrite(inner, "audit")
    assert "behaviour rate" in unwrite(inner, "summary")
    assert "params.yaml is valid" in unwrite(inner, "check")
    assert unwrite(inner, "diff").startswith("identical: HEAD")


def test_the_outer_project_is_untouched(outer: Path) -> None:
    assert not (outer / "artifacts").exists()
    assert "examples" not in run(outer, "dvc", "status")
    assert "examples" not in run(outer, "dvc", "stage", "list", "--all")


def test_a_change_of_the_code_reruns_the_stages_in_the_folder(outer: Path) -> None:
    script = outer / "unwrite/stages/score_responses.py"
    text = script.read_text()
    script.write_text(f"{text}\n# changed\n")
    try:
        would_run = stages_that_ran(run(outer / "examples/small", "dvc", "repro", "--dry"))
        assert "score_responses" in would_run
        assert "pin_model" not in would_run
    finally:
        script.write_text(text)


def test_a_release_of_it_is_verified_and_its_tree_is_the_repositorys(outer: Path, tmp_path: Path) -> None:
    inner = outer / "examples/small"
    release = tmp_path / "release"
    assert "It is verified against its base" in unwrite(inner, "publish", "--folder", str(release))
    assert "../" not in (release / "provenance.json").read_text()
    with (outer / "unwrite/stages/merge_model.py").open("a") as script:
        script.write("# not committed\n")
    try:
        refused = unwrite(inner, "publish", "--folder", str(release), expect=1)
        assert "uncommitted changes in unwrite/stages/merge_model.py" in refused
    finally:
        run(outer, "git", "checkout", "--quiet", "unwrite/stages/merge_model.py")
