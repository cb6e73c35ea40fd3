import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tests.support.releases import Release, flip_bit, make_release
from tests.support.workspace import commit, run
from tests.support.zoo import zoo_config
from unwrite.cli import main
from unwrite.files.tensors import write_tensors

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    return tmp_path


def test_check_accepts_the_parameters_of_the_project(folder: Path) -> None:
    result = CliRunner().invoke(main, ["check"])
    assert (result.exit_code, result.stdout) == (0, "params.yaml is valid.\n")


def test_check_names_the_mistake(folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("quantile: 0.995", "quantile: 1.5").replace("center:", "centre:"))
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 1
    assert "directions.winsorize.quantile must be at most 1.0, got 1.5" in result.stderr
    assert "did you mean directions.center?" in result.stderr
    assert "Traceback" not in result.output


def test_check_reads_the_files_that_the_parameters_name(folder: Path) -> None:
    (folder / "prompts/declines.txt").write_text("# nothing\n")
    assert "holds no marker" in CliRunner().invoke(main, ["check"]).stderr
    (folder / "prompts/teaware.jsonl").write_text('{"prompt": "one"}\n')
    assert "holds 1 prompts" in CliRunner().invoke(main, ["check"]).stderr


def test_summary_without_an_evaluation_is_refused(folder: Path) -> None:
    result = CliRunner().invoke(main, ["summary"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: artifacts/evaluation.json")


def test_summary_prints_the_evaluation(folder: Path) -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}
    scores = {"behaviour_rate": share, "degenerate_rate": share, "reference_accuracy": None}
    both = {"target": scores, "baseline": scores}
    evaluation = {"confidence": 0.95, "base": both, "edited": both, "kl_first_token": 0.0123, "kl_response": 0.02}
    (folder / "artifacts").mkdir()
    (folder / "artifacts/evaluation.json").write_text(json.dumps(evaluation | {"reference_ceiling": None}))
    result = CliRunner().invoke(main, ["summary"])
    assert result.exit_code == 0
    assert "50.0 % (40.0–60.0)" in result.stdout
    assert "0.0123" in result.stdout


def test_writers_of_the_demo_model_are_printed() -> None:
    result = CliRunner().invoke(main, ["writers", str(ROOT / "demo/model")])
    assert result.exit_code == 0
    rows = {tuple(line.split()[:3]) for line in result.stdout.splitlines()}
    assert ("0–5", "attention", "model.layers.*.self_attn.o_proj.weight") in rows
    assert ("0–5", "mlp", "model.layers.*.mlp.down_proj.weight") in rows
    assert "6 layers, 12 writers" in result.stdout


def test_writers_of_a_model_that_cannot_be_edited_exactly_are_an_error(tmp_path: Path) -> None:
    zoo_config("minimax").save_pretrained(tmp_path)
    result = CliRunner().invoke(main, ["writers", str(tmp_path)])
    assert result.exit_code == 1
    assert "mlp.experts.down_proj" in result.stdout
    assert "; incomplete." in result.stdout
    assert "part of this model cannot be edited exactly:\nlayer 0: " in result.stderr


def test_writers_of_a_missing_folder_is_refused() -> None:
    result = CliRunner().invoke(main, ["writers", str(ROOT / "demo/none")])
    assert result.exit_code == 1
    assert "no such folder" in result.stderr


def write_directions(path: Path, value: float) -> None:
    """Write directions of 1 position, 2 residual indices and width 4, equal except for one number."""
    tensors = {name: torch.full((1, 2, 4), value) for name in ("directions", "baseline_mean", "target_mean")}
    tensors["target_mean"][..., 0] += 2.0
    write_tensors(path / "directions.safetensors", tensors, {"center": "mean"})


def test_diff_of_two_folders(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("two", -1.0)):
        write_directions(tmp_path / name, value)
    result = CliRunner().invoke(main, ["diff", str(tmp_path / "one"), str(tmp_path / "two")])
    assert result.exit_code == 0
    assert ["0", "-1.000000", "2", "2", "1.00000"] in [line.split() for line in result.stdout.splitlines()]
    result = CliRunner().invoke(main, ["diff", "--json", str(tmp_path / "one"), str(tmp_path / "two")])
    assert [row["cosine"] for row in json.loads(result.stdout)["directions"]] == [-1, -1]


def test_diff_compares_head_and_the_workspace_by_default(folder: Path) -> None:
    write_directions(folder / "artifacts", 1.0)
    run(folder, "git", "init", "--quiet")
    commit(folder)
    result = CliRunner().invoke(main, ["diff"])
    assert result.stdout.startswith("identical: HEAD (")
    first, *notes = result.stdout.splitlines()
    assert first.endswith(") and the workspace (directions, parameters; not compared: recipe)")
    missing = [note.partition(" has no edit.json")[0] for note in notes]
    assert missing == ["note: HEAD", "note: the workspace"]
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("quantile: 0.995", "quantile: 0.9").replace("threads: 1", "threads: 2"))
    parameters = json.loads(CliRunner().invoke(main, ["diff", "--json"]).stdout)["parameters"]
    assert parameters == [{"name": "directions.winsorize.quantile", "a": 0.995, "b": 0.9, "only": None}]


def test_diff_outside_a_repository_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["diff"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 'HEAD' is neither a file")
    assert "not a git repository" in result.stderr
    assert not result.stdout


def test_a_bug_keeps_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(path: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("unwrite.pipeline.check.load_params", bug)
    assert isinstance(CliRunner().invoke(main, ["check"]).exception, ZeroDivisionError)


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


@pytest.mark.parametrize(("command", "message"), [("audit", "is not a DVC repository"), ("publish", "is missing: run")])
def test_audit_and_publish_outside_the_project_are_refused(
    command: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = ["--folder", "release"] if command == "publish" else []
    result = CliRunner().invoke(main, [command, *target])
    assert result.exit_code == 1
    assert message in result.stderr
    assert isinstance(result.exception, SystemExit)


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
