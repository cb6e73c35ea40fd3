"""Without benchmarks the stage is instant; with one, both models are scored on it, each in its turn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_task import ANSWERS, write_task
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import TaskFiles, read_artifact
from unwrite.schema.evaluation import Benchmarks
from unwrite.schema.params import Params
from unwrite.schema.paths import BENCHMARKS, TASK_FILES
from unwrite.stages.list_inputs import list_inputs
from unwrite.stages.run_benchmarks import run_benchmarks

SCRIPT = """
import sys
from unwrite.stages.run_benchmarks import run_benchmarks
from unwrite.schema.params import load_params
assert run_benchmarks(load_params()) is None
print(*(name in sys.modules for name in ("lm_eval", "datasets", "torch")))
"""


def with_benchmark(params: Params, folder: Path) -> Params:
    harness = params.evaluate.harness.model_copy(update={"task_folder": str(folder)})
    evaluate = params.evaluate.model_copy(update={"benchmarks": ("tea_choice",), "harness": harness})
    return params.model_copy(update={"evaluate": evaluate})


def scores() -> Benchmarks:
    return read_artifact(Benchmarks, BENCHMARKS, "run_benchmarks")


def test_without_benchmarks_nothing_is_imported(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False"] * 3
    assert json.loads((tmp_path / BENCHMARKS).read_text()) == {"format": 2, "harness": None, "scores": []}


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_both_models_are_scored_on_a_task(params: Params, capfd: pytest.CaptureFixture[str]) -> None:
    assert scores().scores == []
    assert run_benchmarks(with_benchmark(params, write_task(Path("tasks")))) == "float32"
    (score,) = scores().scores
    assert (score.task, score.figure, score.n) == ("tea_choice", "acc", len(ANSWERS))
    assert score.base is not None
    assert score.edited is not None
    assert score.difference == score.edited - score.base
    assert score.difference_error is not None
    said = capfd.readouterr().err
    assert said.index("base model: tea_choice.") < said.index("edited model: tea_choice.")
    assert "loglikelihood" not in said


@pytest.mark.usefixtures("project")
def test_the_files_of_the_task_folder_are_listed(params: Params) -> None:
    def listed() -> TaskFiles:
        list_inputs(with_benchmark(params, Path("tasks")))
        return read_artifact(TaskFiles, TASK_FILES, "list_inputs")

    assert read_artifact(TaskFiles, TASK_FILES, "list_inputs") == TaskFiles(folder=None, files=[])
    with pytest.raises(UnwriteError, match=r"^evaluate\.harness\.task_folder must be a folder .*, got tasks\.$"):
        listed()
    write_task(Path("tasks"))
    before = listed()
    assert [file.name for file in before.files] == ["documents.jsonl", "tea_choice.yaml"]
    assert listed() == before
    with Path("tasks/documents.jsonl").open("a") as stream:
        stream.write("\n")
    assert listed() != before
