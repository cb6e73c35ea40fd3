"""A problem is refused with its remedy, unless its kind is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.published import consistent_evaluation
from tests.support.releases import Release
from tests.support.samples import sample_run
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.release import problems as problems_module
from unwrite.release.problems import (
    Problem,
    find_changed_copies,
    find_project_problems,
    kinds_of,
    refuse_failed_gates,
    refuse_problems,
)
from unwrite.schema.artifacts import FileDigest, as_json
from unwrite.schema.gate_values import evaluated_gates
from unwrite.schema.paths import EVALUATION

PROBLEMS = [
    Problem("stale", "one is out of date"),
    Problem("dirty", "uncommitted changes in a"),
    Problem("stale", "two is out of date"),
]


def test_kinds_are_listed_once_in_the_order_of_the_command_line() -> None:
    assert kinds_of(PROBLEMS) == ["dirty", "stale"]
    assert kinds_of([]) == []


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ([], r"^Not published: one is out of date; two is out of date\.\n"
             r"Fix this \(run `dvc repro`\), or pass --allow stale; the manifest records it\.$"),
        (["stale"], r"^Not published: uncommitted changes in a\.\nFix this \(commit them\), or pass --allow dirty"),
    ],
)  # fmt: skip
def test_problems_of_the_first_kind_not_allowed_are_refused(allowed: list[str], message: str) -> None:
    with pytest.raises(UnwriteError, match=message):
        refuse_problems(PROBLEMS, allowed)  # type: ignore[arg-type]


def test_allowed_problems_pass() -> None:
    refuse_problems(PROBLEMS, ["dirty", "stale"])
    refuse_problems([], [])


def test_long_list_of_problems_is_shortened() -> None:
    with pytest.raises(UnwriteError, match=r"stage 0; stage 1; stage 2, and 2 more\."):
        refuse_problems([Problem("stale", f"stage {number}") for number in range(5)], [])


def test_a_repository_that_git_refuses_is_not_to_be_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[str]:
        raise UnwriteError("git refuses to read this repository.")

    monkeypatch.setattr(problems_module, "uncommitted_changes", refuse)
    with pytest.raises(UnwriteError, match=r"repository\.\nFix this \(git must be able to tell the commit\), or pass"):
        find_project_problems([])


def test_a_failed_gate_is_refused_with_its_figure_and_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    EVALUATION.parent.mkdir()
    evaluation = consistent_evaluation()

    def write_gates(*gates: str) -> None:
        found = evaluated_gates(evaluation, gates)
        write_json(EVALUATION, as_json(evaluation.model_copy(update={"gates": found})))

    write_gates("kl_response < 1")
    refuse_failed_gates()
    write_gates("kl_response < 1", "kl_response.high < 0.01")
    with pytest.raises(UnwriteError, match=r"^Not published: kl_response\.high must be < 0\.01, got 0\.03\.\n"):
        refuse_failed_gates()


@pytest.fixture
def copies(release: Release, monkeypatch: pytest.MonkeyPatch) -> dict[Path, FileDigest]:
    """A file of a merged model, one that a stage wrote, and one of the project, as they were copied."""
    monkeypatch.chdir(release.folder.parent)
    Path("artifacts").mkdir()
    release.folder.rename("artifacts/model")
    Path("artifacts/evaluation.json").write_text("{}")
    Path("params.yaml").write_text("")
    paths = ("artifacts/model/config.json", "artifacts/evaluation.json", "params.yaml")
    return {Path(path): digest_of(Path(path)).model_copy(update={"name": path}) for path in paths}


def test_changed_copy_is_found_and_others_are_not(copies: dict[Path, FileDigest]) -> None:
    runs = [sample_run("score_responses", writes=[copies[Path("artifacts/evaluation.json")]])]
    assert find_changed_copies(copies, runs, []) == []
    for name in ("artifacts/model/config.json", "artifacts/evaluation.json"):
        other = copies | {Path(name): copies[Path(name)].model_copy(update={"sha256": "0" * 64})}
        with pytest.raises(UnwriteError, match=f"{name} is not what a stage wrote"):
            find_changed_copies(other, runs, ["dirty"])
        assert find_changed_copies(other, runs, ["altered"]) == [
            Problem("altered", f"{name} is not what a stage wrote")
        ]
