import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.releases import Release, flip_bit, make_release
from tests.support.shuffled import Shuffled
from unwrite.cli import main


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path)


def test_verify_prints_its_verdict_and_sets_the_exit_code(release: Release) -> None:
    command = ["verify", str(release.folder), "--base", str(release.base)]
    honest = CliRunner().invoke(main, command)
    assert honest.exit_code == 0
    assert "VERIFIED: the release is the base plus the declared edit" in honest.stdout
    flip_bit(release.folder, "lm_head.weight")
    tampered = CliRunner().invoke(main, command)
    assert tampered.exit_code == 1
    assert "lm_head.weight differs from the base: 1 of" in tampered.stdout
    assert "NOT VERIFIED: files, unedited tensors failed." in tampered.stdout
    assert json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)["passed"] is False


def test_verify_in_workers_prints_the_same(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Shuffled()
    monkeypatch.setattr("unwrite.workers.shards.open_pool", workers.opened)
    command = ["verify", str(release.folder), "--base", str(release.base), "--json"]
    for code in (0, 1):
        one, two = (CliRunner().invoke(main, [*command, "--workers", count]) for count in ("1", "2"))
        assert (one.exit_code, two.exit_code) == (code, code)
        assert one.stdout == two.stdout
        flip_bit(release.folder, "lm_head.weight")
    assert len(workers.made) == 2


@pytest.mark.parametrize("workers", ["0", "-1", "tea", "ray://head"])
def test_workers_that_cannot_be_are_refused_in_one_line(workers: str, release: Release) -> None:
    result = CliRunner().invoke(main, ["verify", str(release.folder), "--workers", workers])
    assert result.exit_code == 1
    expected = "--workers: must be auto, an integer of at least 1, or ray://HOST:PORT"
    assert result.stderr.startswith(f"error: {expected}")
    assert result.stderr.count("\n") == 1


def test_anything_but_a_release_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for arguments, message in (
        (["verify", str(tmp_path / "empty")], "empty is empty: it is not a release made by unwrite"),
        (["verify", str(tmp_path / "file")], "file is not a folder: expected the folder of a release"),
        (["verify", str(tmp_path / "nowhere")], "there is no such folder, and it is not a hub id"),
        (["explain", str(tmp_path / "empty")], "empty is empty: it is not a release made by unwrite"),
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


def test_explain_prints_the_page(release: Release) -> None:
    result = CliRunner().invoke(main, ["explain", str(release.folder)])
    assert result.exit_code == 0
    assert "4 of 30 tensors" in result.stdout


def test_publish_refuses_a_malformed_repository_name_before_any_work() -> None:
    result = CliRunner().invoke(main, ["publish", "--repository", "name"])
    assert result.exit_code == 2
    assert "'name' is not a valid repository name: expected ORG/NAME" in result.stderr


def test_a_missing_base_is_named(release: Release) -> None:
    result = CliRunner().invoke(main, ["verify", str(release.folder), "--base", "demo/modle"])
    assert result.exit_code == 1
    assert (
        "'demo/modle' is not a folder, and cannot be used as a hub id: the release declares no base commit"
        in result.stderr
    )


def test_publish_requires_a_destination() -> None:
    result = CliRunner().invoke(main, ["publish"])
    assert result.exit_code == 2
    assert "--folder PATH, --repository ORG/NAME" in result.stderr


def test_publish_outside_the_project_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["publish", "--folder", "release"])
    assert result.exit_code == 1
    assert "is missing: run" in result.stderr
    assert isinstance(result.exception, SystemExit)
