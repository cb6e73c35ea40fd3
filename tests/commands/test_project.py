import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tests.support.samples import sample_classified
from tests.support.workspace import commit, run
from unwrite.cli import main
from unwrite.files.records import write_json
from unwrite.files.tensors import write_tensors
from unwrite.schema.artifacts import as_json
from unwrite.schema.evaluation import Benchmark

ROOT = Path(__file__).parents[2]


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
    row = dict.fromkeys(Benchmark.model_fields) | {"task": "arc", "figure": "acc", "selection": "none", "n": 9}
    benchmarks = {"format": 2, "harness": "0.4.13", "scores": [row | {"difference": 0.25, "difference_error": 0.125}]}
    (folder / "artifacts/benchmarks.json").write_text(json.dumps(benchmarks))
    assert CliRunner().invoke(main, ["summary"]).stdout.startswith(f"{result.stdout}\n")
    assert "+0.250 ± 0.125" in CliRunner().invoke(main, ["summary"]).stdout
    (folder / "artifacts/benchmarks.json").write_text(json.dumps(benchmarks | {"scores": []}))
    assert CliRunner().invoke(main, ["summary"]).stdout == result.stdout


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


def test_audit_outside_the_project_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["audit"])
    assert result.exit_code == 1
    assert "is not a DVC repository" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_summary_prints_how_far_the_markers_agree_with_the_classifier(folder: Path) -> None:
    write_json(folder / "artifacts/evaluation.json", as_json(sample_classified()))
    result = CliRunner().invoke(main, ["summary"])
    assert result.exit_code == 0
    assert ["Cohen's", "kappa", "0.40"] in [line.split() for line in result.stdout.splitlines()]
