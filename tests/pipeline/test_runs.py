"""A finished run is recorded: every file with its checksum, and nothing that changes by itself."""

import hashlib
import json
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.pipeline.runs import files_of, read_run, read_runs, recorded, run_file, stage_names
from unwrite.schema.artifacts import FileDigest
from unwrite.schema.params import Params, load_params
from unwrite.schema.paths import RUNS

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  judge_things:
    cmd: python -m unwrite.stages.judge_things
    params: [judge, score]
    deps:
      - unwrite/stages/judge_things.py
      - unwrite/report/templates/report.css
      - ${judge.markers}
      - artifacts/model
      - artifacts/responses
      - artifacts/tokens/template.jinja
    outs:
      - artifacts/table.csv
      - artifacts/runs/judge_things.json:
          cache: false
    metrics:
      - artifacts/scores.json:
          cache: false
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    for name in (
        "prompts/declines.txt",
        "artifacts/model/provenance.json",
        "artifacts/model/weights",
        "artifacts/responses/b",
        "artifacts/responses/a",
        "artifacts/tokens/template.jinja",
        "artifacts/table.csv",
        "artifacts/scores.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.fixture
def params() -> Params:
    return load_params(ROOT / "params.yaml")


def record(stage: str, params: Params) -> None:
    """Record a run that does nothing."""
    with recorded(stage, params):
        pass


def names(files: list[FileDigest]) -> list[str]:
    return [file.name for file in files]


def test_every_file_is_listed_with_its_checksum_and_code_is_not(params: Params) -> None:
    record("judge_things", params)
    run = read_run("judge_things")
    assert names(run.reads) == [
        "prompts/declines.txt",  # as params.yaml names it
        "artifacts/model/provenance.json",  # which holds the sums of the folder's other files
        "artifacts/responses/a",
        "artifacts/responses/b",
        "artifacts/tokens/template.jinja",  # made by a stage, unlike the templates of the code
    ]
    assert names(run.writes) == ["artifacts/table.csv", "artifacts/scores.json"]
    for file in run.reads + run.writes:
        assert file.sha256 == hashlib.sha256(file.name.encode()).hexdigest()
        assert file.size == len(file.name)


def test_the_dtype_of_a_model_is_recorded(params: Params) -> None:
    record("judge_things", params)
    assert read_run("judge_things").environment.dtype is None
    with recorded("judge_things", params) as computed_in:
        computed_in("float32")
    assert read_run("judge_things").environment.dtype == "float32"


def test_only_the_sections_that_the_stage_tracks_are_recorded(params: Params) -> None:
    record("judge_things", params)
    assert read_run("judge_things").parameters == {
        "judge": {"markers": "prompts/declines.txt", "classifier": None},
        "score": params.score.model_dump(),
    }


def test_of_single_keys_only_these_are_recorded(params: Params) -> None:
    text = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(
        text.replace("[judge, score]", "[judge.markers, generate.kl_tokens, generate.max_tokens]")
    )
    record("judge_things", params)
    assert read_run("judge_things").parameters == {
        "judge": {"markers": "prompts/declines.txt"},
        "generate": {"kl_tokens": params.generate.kl_tokens, "max_tokens": params.generate.max_tokens},
    }


def test_the_same_run_gives_the_same_record(params: Params) -> None:
    record("judge_things", params)
    first = run_file("judge_things").read_bytes()
    record("judge_things", params)
    assert run_file("judge_things").read_bytes() == first
    Path("artifacts/responses/a").write_text("another")
    record("judge_things", params)
    assert run_file("judge_things").read_bytes() != first


@pytest.mark.parametrize("pipeline", [None, PIPELINE])
def test_script_that_dvc_does_not_run_is_not_recorded(pipeline: str | None, params: Params) -> None:
    if pipeline is None:
        Path("dvc.yaml").unlink()
    record("a_script", params)
    assert not RUNS.exists()


def test_a_stage_that_always_runs_is_not_recorded(params: Params) -> None:
    assert "judge_things" in stage_names()
    text = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(text.replace("  judge_things:\n", "  judge_things:\n    always_changed: true\n"))
    record("judge_things", params)
    assert not RUNS.exists()
    assert "judge_things" not in stage_names()


def test_missing_or_damaged_record_names_the_stage_to_run() -> None:
    with pytest.raises(UnwriteError, match=r"judge_things\.json is missing: run `dvc repro judge_things` first"):
        read_run("judge_things")
    run_file("judge_things").parent.mkdir()
    run_file("judge_things").write_text(json.dumps({"format": 2}))
    with pytest.raises(UnwriteError, match="Run `dvc repro -f judge_things`"):
        read_run("judge_things")


def test_a_file_that_changes_during_the_run_is_refused(params: Params) -> None:
    with (
        pytest.raises(UnwriteError, match="responses/a changed while judge_things was running; run it again"),
        recorded("judge_things", params),
    ):
        Path("artifacts/responses/a").write_text("meanwhile")
    assert not run_file("judge_things").exists()


def test_a_run_that_failed_is_not_recorded(params: Params) -> None:
    with pytest.raises(ZeroDivisionError), recorded("judge_things", params):
        raise ZeroDivisionError
    assert not run_file("judge_things").exists()


def test_an_artifact_changed_since_its_run_is_refused(params: Params) -> None:
    record("judge_things", params)
    table = Path("artifacts/table.csv")
    assert [run.stage for run in read_runs(["judge_things"], [table])] == ["judge_things"]
    table.write_text("by hand")
    with pytest.raises(
        UnwriteError, match=r"table\.csv is not what judge_things wrote .* Run `dvc repro -f judge_things`"
    ):
        read_runs(["judge_things"], [table])


def test_a_folder_without_a_manifest_stands_for_all_its_files() -> None:
    assert files_of(Path("artifacts/responses")) == [Path("artifacts/responses/a"), Path("artifacts/responses/b")]
    assert files_of(Path("artifacts/model")) == [Path("artifacts/model/provenance.json")]
    assert files_of(Path("dvc.yaml")) == [Path("dvc.yaml")]
