"""The pipeline under DVC: what one change reruns, and that a killed run writes the same bytes when repeated.

Each test runs DVC only as far as the last stage it asserts something about.
"""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.workspace import (
    ENVIRONMENT,
    ORDER,
    commit,
    make_workspace,
    run,
    set_parameter,
    stages_that_ran,
    unwrite,
)
from unwrite.schema.evaluation import Metrics

Dvc = Callable[..., str]  # takes the arguments, returns what was printed


@pytest.fixture
def dvc(workspace: Path, warm: Mapping[str, str]) -> Dvc:
    """DVC in the test's workspace, whose stages start in no time."""
    return partial(run, workspace, "dvc", environment=warm)


def assert_rerun_from(first: str, output: str) -> None:
    """Check that `first` and the stage after it ran and nothing before them. Later stages may find nothing changed."""
    ran = stages_that_ran(output)
    start = ORDER.index(first)
    assert ran <= set(ORDER[start:]), output
    assert set(ORDER[start : start + 2]) <= ran, output


def test_nothing_changed_reruns_nothing(dvc: Dvc) -> None:
    assert stages_that_ran(dvc("repro")) == set()


def test_another_checkpoint_in_the_same_place_is_pinned_again_and_a_touched_one_is_not(
    workspace: Path, dvc: Dvc
) -> None:
    weights = workspace / "demo/model/model.safetensors"
    weights.touch()
    assert stages_that_ran(dvc("repro")) == set()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert_rerun_from("pin_model", dvc("repro", "tokenize_prompts"))


def test_an_experiment_in_a_copy_finds_a_model_that_git_ignores(workspace: Path, dvc: Dvc) -> None:
    run(workspace, "git", "mv", "demo/model", "local")
    run(workspace, "git", "rm", "-r", "--quiet", "--cached", "local")
    with (workspace / ".gitignore").open("a") as ignored:
        ignored.write("/local/\n")
    set_parameter(workspace, "model", "source", value="local")
    commit(workspace)
    output = dvc("exp", "run", "--temp", "-S", "model.dtype=float32", "extract_residuals")
    assert {"pin_model", "extract_residuals"} <= stages_that_ran(output)


def test_runtime_reruns_nothing(workspace: Path, dvc: Dvc) -> None:
    set_parameter(workspace, "runtime", "batch_tokens", value=512)
    set_parameter(workspace, "runtime", "device", value="cpu")
    assert stages_that_ran(dvc("repro")) == set()


def test_metrics_fit_a_terminal_of_120_columns(workspace: Path) -> None:
    figures = json.loads((workspace / "artifacts/metrics.json").read_text())
    widest = dict.fromkeys(figures, 0.12345)
    (workspace / "artifacts/metrics.json").write_text(json.dumps(widest))
    table = run(workspace, "dvc", "metrics", "show")
    assert re.findall(r"0\.12345", table) == ["0.12345"] * 8
    assert max(map(len, table.splitlines())) <= 120


def test_plots_have_titles_and_the_columns_they_name(workspace: Path) -> None:
    plots = YAML(typ="safe").load(workspace / "dvc.yaml")["plots"]
    run(workspace, "dvc", "plots", "show", "--out", "page")
    page = (workspace / "page/index.html").read_text()
    assert len(plots) == 6
    for name, settings in (pair for plot in plots for pair in plot.items()):
        y = settings["y"]
        for path, columns in y.items() if isinstance(y, dict) else [(name, [y])]:
            with (workspace / path).open() as file:
                assert {settings["x"], *columns} <= set(next(csv.reader(file)))
        assert settings["title"] in page


def test_winsorize_quantile_reruns_from_the_directions(workspace: Path, dvc: Dvc) -> None:
    before = (workspace / "artifacts/directions.safetensors").read_bytes()
    output = dvc("exp", "run", "-S", "directions.winsorize.quantile=0.9", "optimize_weights")
    assert_rerun_from("compute_directions", output)
    assert "quantile" in dvc("params", "diff")
    assert (workspace / "artifacts/directions.safetensors").read_bytes() != before


def test_search_bound_reruns_from_the_search(workspace: Path, dvc: Dvc) -> None:
    set_parameter(workspace, "optimize", "space", "mlp", "max_weight", value=[0.5, 1.0])
    assert_rerun_from("optimize_weights", dvc("repro", "select_trial"))


def test_selection_rule_reruns_from_the_selection(workspace: Path, dvc: Dvc) -> None:
    chosen = (workspace / "artifacts/edit.json").read_text()
    other = next(n for n in range(3) if f'"number": {n}' not in chosen)
    set_parameter(workspace, "select", "trial", value=other)
    output = dvc("repro", "score_responses")
    assert_rerun_from("select_trial", output)
    assert {"generate_responses", "score_responses"} <= stages_that_ran(output)
    assert "artifacts/metrics.json" in dvc("metrics", "diff")


def test_marker_reruns_the_search_and_the_verdicts_but_not_the_extraction(workspace: Path, dvc: Dvc) -> None:
    with (workspace / "prompts/declines.txt").open("a") as markers:
        markers.write("a phrase in no response\n")
    ran = stages_that_ran(dvc("repro", "judge_responses"))
    assert {"optimize_weights", "judge_responses"} <= ran
    assert not ran & {"pin_model", "tokenize_prompts", "extract_residuals"}
    assert "filter_prompts" in ran  # which judges the base model's responses
    assert "compute_directions" not in ran  # since it keeps the same prompts


def test_a_file_of_an_extra_set_reruns_what_reads_it_and_no_search(workspace: Path, dvc: Dvc) -> None:
    near = workspace / "prompts/near_misses.jsonl"
    near.write_text("".join(near.read_text().splitlines(keepends=True)[:6]))
    ran = stages_that_ran(dvc("repro", "score_responses"))
    assert ran == {"tokenize_sets", "generate_responses", "judge_responses", "score_responses"}
    evaluation = json.loads((workspace / "artifacts/evaluation.json").read_text())
    assert evaluation["edited"]["sets"]["near_misses"]["behaviour_rate"]["n"] == 6
    (workspace / "own.txt").write_text("the\n")
    set_parameter(workspace, "evaluate", "sets", "near_misses", "markers", value="own.txt")
    ran = stages_that_ran(dvc("repro", "score_responses"))
    assert ran == {"tokenize_sets", "judge_responses", "score_responses"}
    (workspace / "own.txt").write_text("a phrase in no response\n")
    assert stages_that_ran(dvc("repro", "score_responses")) == {"judge_responses", "score_responses"}


def test_a_failed_gate_fails_last_and_stops_publishing(workspace: Path) -> None:
    set_parameter(workspace, "evaluate", "gates", value=["base.target.behaviour_rate < 0.5"])
    output = run(workspace, "dvc", "repro", expect=255)
    assert stages_that_ran(output) == {"score_responses", "write_report", "check_gates"}
    assert "base.target.behaviour_rate must be < 0.5, got 1" in output
    assert not json.loads((workspace / "artifacts/evaluation.json").read_text())["gates"][0]["passed"]
    assert (workspace / "artifacts/report.html").is_file()
    commit(workspace)
    refused = unwrite(workspace, "publish", "--folder", "release", expect=1)
    assert "Not published: base.target.behaviour_rate must be < 0.5, got 1" in refused
    assert not (workspace / "release").exists()


def test_metrics_and_the_graph_can_be_shown(workspace: Path) -> None:
    shown = run(workspace, "dvc", "metrics", "show")
    assert set(shown.splitlines()[0].split()) == {"Path", *Metrics.model_fields}
    graph = run(workspace, "dvc", "dag", "--mermaid")
    assert all(stage in graph for stage in ORDER)
    described = YAML(typ="safe").load(workspace / "dvc.yaml")["stages"]["optimize_weights"]["desc"]
    assert described[:40] in run(workspace, "dvc", "stage", "list")


def results(folder: Path) -> dict[str, str]:
    """Return the digest of each result that is reproducible to the byte, and trials.csv without its seconds."""
    artifacts = folder / "artifacts"
    paths = [artifacts / name for name in ("base.json", "directions.safetensors", "front.json", "edit.json")]
    paths += sorted((artifacts / "model").glob("*.safetensors"))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    with (artifacts / "trials.csv").open() as file:
        trials = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return digests | {"trials": repr(trials)}


def run_until(folder: Path, line: str) -> None:
    """Start `dvc repro`, and kill it and its children without warning (SIGKILL) once it has printed `line`."""
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    printed = ""
    with process, process.stdout as output:
        for text in output:
            printed += text
            if line in text:
                os.killpg(process.pid, signal.SIGKILL)
                return
    pytest.fail(f"{line!r} was never printed:\n{printed}")


def test_killed_and_repeated_runs_write_the_same_bytes(finished: Path, warm: Mapping[str, str], tmp_path: Path) -> None:
    folder = make_workspace(tmp_path / "project")
    run(folder, "dvc", "repro", "compute_directions", environment=warm)
    run_until(folder, "Base model: behaviour rate")  # in the middle of the search
    assert not (folder / "artifacts/front.json").exists()
    run_until(folder, "Running stage 'merge_model'")
    assert not (folder / "artifacts/model").exists()
    run(folder, "dvc", "repro", "merge_model")
    assert results(folder) == results(finished)
