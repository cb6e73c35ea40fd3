"""A project of its own: the installed code runs in it, an upgrade reruns what it changes, four commands are enough."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.workspace import ORDER, ROOT, SMALL, commit, run, set_parameter, stages_that_ran, unwrite

ALWAYS = {"list_code"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package is installed in."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "unwrite", folder / "unwrite", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def installed(site: Path, warm: Mapping[str, str]) -> Mapping[str, str]:
    """The environment in which stages run the installed package."""
    return {**warm, "PYTHONPATH": str(site)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, installed: Mapping[str, str]) -> Path:
    """A new project with the demo, shrunk, in which every stage has run."""
    folder = tmp_path_factory.mktemp("projects") / "tea"
    unwrite(folder.parent, "init", "tea")
    for (section, key), value in SMALL.items():
        set_parameter(folder, section, key, value=value)
    commit(folder)
    assert stages_that_ran(run(folder, "dvc", "repro", environment=installed)) == {*ORDER, *ALWAYS}
    commit(folder)
    return folder


@pytest.mark.slow
def test_the_demo_runs_in_a_new_project(project: Path) -> None:
    assert "behaviour rate" in unwrite(project, "summary")
    assert "Every artifact is what its stage made" in unwrite(project, "audit")
    status = run(project, "dvc", "status")
    assert status == "list_code:\n\talways changed\nlist_inputs:\n\talways changed\n"


@pytest.mark.slow
def test_a_release_of_it_is_verified_and_lists_the_sums_of_the_code(project: Path, tmp_path: Path) -> None:
    assert "It is verified against its base" in unwrite(project, "publish", "--folder", str(tmp_path / "release"))
    assert "artifacts/code/optimize_weights.json" in (tmp_path / "release/provenance.json").read_text()


@pytest.mark.slow
def test_an_upgrade_reruns_what_it_changes_and_says_so(project: Path, site: Path, installed: Mapping[str, str]) -> None:
    page = site / "unwrite/report/page.py"
    text = page.read_text()
    page.write_text(f"{text}\n# another version\n")
    try:
        output = run(project, "dvc", "repro", environment=installed)
        assert stages_that_ran(output) == {*ALWAYS, "write_report"}
        assert "other code of write_report." in output
        assert stages_that_ran(run(project, "dvc", "repro", environment=installed)) == ALWAYS
    finally:
        page.write_text(text)


@pytest.mark.slow
def test_two_text_files_and_a_model_are_enough_for_the_first_stages(tmp_path: Path, warm: Mapping[str, str]) -> None:
    """The rest is what the demo's project runs."""
    lines = {name: (ROOT / f"prompts/{name}.jsonl").read_text().splitlines()[:24] for name in ("teaware", "ordinary")}
    for name, rows in lines.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{json.loads(row)['prompt']}\n" for row in rows))
    files = ("--target", "teaware.txt", "--baseline", "ordinary.txt")
    unwrite(tmp_path, "init", "tea", "--model", str(ROOT / "demo/model"), *files)
    python = {**warm, "PYTHONPATH": str(ROOT)}
    output = run(tmp_path / "tea", "unwrite", "markers", "--write", "prompts/markers.txt", environment=python)
    assert stages_that_ran(output) == {*ALWAYS, "pin_model", "tokenize_prompts"}
    assert "Written: prompts/markers.txt" in output
    assert "params.yaml is valid." in unwrite(tmp_path / "tea", "check")
