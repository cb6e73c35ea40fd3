"""The search on the demo: its output, its continuation after a stop, and the inputs it refuses."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest

from tests.support.small_project import small_params
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Front, TrialParameters, read_artifact
from unwrite.schema.params import Params
from unwrite.search.objective import Objective
from unwrite.search.racing import Standard
from unwrite.search.state import search_state
from unwrite.search.trials import Measured, read_trials
from unwrite.stages.compute_directions import compute_directions
from unwrite.stages.extract_residuals import extract
from unwrite.stages.optimize_weights import optimize_weights
from unwrite.stages.pin_model import pin_model
from unwrite.stages.tokenize_prompts import tokenize_prompts

ROOT = Path(__file__).parents[2]
FRONT = Path("artifacts/front.json")
TRIALS = Path("artifacts/trials.csv")
SEARCHES = Path(".unwrite/search")


def rows() -> list[dict[str, str]]:
    """Return the rows of trials.csv."""
    with TRIALS.open() as file:
        return list(csv.DictReader(file))


def with_optimize(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"optimize": params.optimize.model_copy(update=changes)})


def test_every_trial_is_recorded_with_its_parameters_objectives_and_seconds(project: Path) -> None:
    assert [row["number"] for row in rows()] == ["0", "1", "2"]
    kernel = ("max_weight", "max_weight_position", "min_weight", "min_weight_distance")
    names = {f"{component}.{name}" for component in ("attention", "mlp") for name in kernel}
    assert names | {"behaviour_rate", "kl", "seconds", "direction_scope", "position"} <= set(rows()[0])
    for row in rows():
        assert 0 <= float(row["behaviour_rate"]) <= 1
        assert float(row["kl"]) >= 0
        assert float(row["seconds"]) > 0


def test_the_front_consists_of_trials(project: Path) -> None:
    front = read_artifact(Front, FRONT, "optimize_weights")
    assert front.base_behaviour_rate == 1
    assert front.trials
    assert all(trial in read_trials() for trial in front.trials)


@pytest.mark.parametrize("post_norm", ["compensate", "ignore"])
def test_the_front_states_the_settings_of_all_trials(project: Path, params: Params, post_norm: str) -> None:
    optimize_weights(with_optimize(params, trials=1, norm_preservation="pre", edit_bias=False, post_norm=post_norm))
    front = read_artifact(Front, FRONT, "optimize_weights")
    assert (front.settings.norm_preservation, front.settings.edit_bias, front.settings.post_norm) == (
        "pre",
        False,
        post_norm,
    )


def test_the_search_removes_the_behaviour_it_was_given(project: Path, params: Params) -> None:
    splits = params.tokenize.splits.model_copy(update={"train": 200})
    many = params.model_copy(
        update={
            "tokenize": params.tokenize.model_copy(update={"splits": splits}),
            "residuals": params.residuals.model_copy(update={"positions": (-1,)}),
        }
    )
    for earlier in (tokenize_prompts, extract, compute_directions):
        earlier(many)
    exact = params.optimize.space.attention.model_copy(
        update={
            "max_weight": (1.0, 1.0),
            "min_weight": (1.0, 1.0),
            "max_weight_position": (0.5, 0.5),
            "min_weight_distance": (1.0, 1.0),
        }
    )
    space = params.optimize.space.model_copy(
        update={"attention": exact, "mlp": exact, "direction_scope": ("global",), "direction_index": (0.6, 0.6)}
    )
    optimize_weights(with_optimize(params, trials=1, space=space))
    (trial,) = read_trials()
    assert trial.behaviour_rate <= 0.25
    nothing = exact.model_copy(update={"max_weight": (0.0, 0.0)})
    control = space.model_copy(update={"attention": nothing, "mlp": nothing})
    optimize_weights(with_optimize(params, trials=1, space=control))
    (trial,) = read_trials()
    assert (trial.behaviour_rate, trial.kl) == (1, 0)


def test_a_base_without_the_behaviour_is_refused(project: Path, params: Params) -> None:
    Path(params.judge.markers).write_text("a phrase that is never said\n")
    FRONT.unlink()
    with pytest.raises(UnwriteError, match="None of the 8 target validation prompts shows the behaviour"):
        optimize_weights(params)
    assert not FRONT.exists()


def test_an_empty_list_of_markers_is_refused(project: Path, params: Params) -> None:
    Path(params.judge.markers).write_text("# only a comment\n")
    with pytest.raises(UnwriteError, match="holds no marker"):
        optimize_weights(params)


def test_a_span_beyond_the_last_layer_is_refused(project: Path, params: Params) -> None:
    space = params.optimize.space.model_copy(update={"spans": ((3, 2, 6),), "direction_scope": ("spans",)})
    with pytest.raises(UnwriteError, match=r"must be between 0 and 5, got 6"):
        optimize_weights(with_optimize(params, space=space))


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> None:
    """Make some trials of each batch fail, by their position in it."""
    evaluate = Objective.evaluate

    def evaluate_some(
        self: Objective, trials: Sequence[TrialParameters], standard: Standard
    ) -> list[Measured | UnwriteError]:
        results = evaluate(self, trials, standard)
        return [UnwriteError("logits are NaN") if fails(n) else result for n, result in enumerate(results)]

    monkeypatch.setattr(Objective, "evaluate", evaluate_some)


def test_if_every_trial_fails_the_stage_fails_with_the_reason(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda _: True)
    FRONT.unlink()
    with pytest.raises(
        UnwriteError,
        match=r"3 of 3 trials failed, 3 of them because: logits are NaN\. None was measured\.\n.*delete \.unwrite",
    ):
        optimize_weights(with_optimize(params, seed=1))
    assert not FRONT.exists()
    assert [row["reason"] for row in rows()] == ["logits are NaN"] * 3


def test_another_dtype_gives_other_measurements(project: Path, params: Params) -> None:
    narrow = params.model_copy(update={"model": params.model.model_copy(update={"dtype": "bfloat16"})})
    before = read_trials()
    pin_model(narrow)
    optimize_weights(params)
    after = read_trials()
    assert [trial.parameters for trial in after] == [trial.parameters for trial in before]
    assert [trial.kl for trial in after] != [trial.kl for trial in before]


def test_the_kl_averages_as_many_tokens_as_asked(project: Path, params: Params) -> None:
    optimize_weights(with_optimize(params, kl_tokens=1))
    first = [trial.kl for trial in read_trials()]
    optimize_weights(with_optimize(params, kl_tokens=6))
    longer = [trial.kl for trial in read_trials()]
    assert all(kl_one != kl_six for kl_one, kl_six in zip(first, longer, strict=True))


def test_failed_trials_raise_a_warning(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, lambda place: place == 1)
    optimize_weights(with_optimize(params, seed=1))
    assert "warning: 1 of 3 trials failed, 1 of them because: logits are NaN" in capsys.readouterr().err
    assert [trial.number for trial in read_trials()] == [0, 2]


def test_trials_above_max_kl_are_recorded_without_a_rate(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    worst = max(trial.kl for trial in read_trials())
    before = {row["number"]: row for row in rows()}
    optimize_weights(with_optimize(params, max_kl=worst * 0.9))
    above = [row for row in rows() if row["reason"]]
    said = capsys.readouterr().err
    assert "1 of 3 trials were above optimize.max_kl and not measured further." in said
    assert "failed" not in said
    assert [(row["reason"], row["behaviour_rate"]) for row in above] == [("divergence over max_kl", "")]
    assert float(above[0]["kl"]) == pytest.approx(worst, rel=0.01)  # it may be measured with the other backend
    for row in rows():
        if not row["reason"]:
            assert row["behaviour_rate"] == before[row["number"]]["behaviour_rate"]


def test_a_search_with_every_trial_above_max_kl_is_an_error(project: Path, params: Params) -> None:
    with pytest.raises(UnwriteError, match=r"Every trial is above optimize\.max_kl: raise it"):
        optimize_weights(with_optimize(params, max_kl=1e-9))


def without_seconds() -> list[str]:
    """Return trials.csv without its last column."""
    return [line.rpartition(",")[0] for line in TRIALS.read_text().splitlines()]


KILLED = """
import os, signal
from pathlib import Path
from unwrite.stages.optimize_weights import optimize_weights
from tests.stages.test_optimize_weights import many
from unwrite.search import runner

count = 0
def killed(outcomes, write=runner.write_trials):
    global count
    count += 1
    write(outcomes)
    if count == {batches}:
        os.kill(os.getpid(), signal.SIGKILL)

runner.write_trials = killed
optimize_weights(many({trials}))
"""


def many(trials: int) -> Params:
    """Return parameters for a search of this many trials, three per batch."""
    return with_optimize(small_params(), trials=trials, random_trials=4, seed=3)


def test_a_killed_and_resumed_search_equals_an_uninterrupted_one(project: Path) -> None:
    """The stage is killed twice by SIGKILL, in batches of three; then a larger budget extends it."""
    for batches in (1, 2):
        script = KILLED.format(batches=batches, trials=9)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    optimize_weights(many(9))
    nine = without_seconds()
    optimize_weights(many(12))
    resumed, front = without_seconds(), FRONT.read_bytes()
    assert len(resumed) == 13
    assert resumed[:10] == nine
    shutil.rmtree(".unwrite")
    optimize_weights(many(12))
    assert without_seconds() == resumed
    assert FRONT.read_bytes() == front


def test_a_smaller_budget_uses_the_first_trials(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    three = without_seconds()
    optimize_weights(with_optimize(params, trials=2, random_trials=3))
    assert without_seconds() == three[:3]
    said = capsys.readouterr().err
    assert "3 trials were done before" in said
    assert "optimize.trials is 2: only the first 2 count, as if no more had run." in said


def test_any_other_change_starts_a_new_search(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    def searches() -> int:
        return len(list(Path(".unwrite/search").iterdir()))

    optimize_weights(params)
    assert searches() == 1
    optimize_weights(with_optimize(params, seed=1))
    Path(params.judge.markers).write_text("I'm sorry\nSorry\n")
    optimize_weights(params)
    assert searches() == 3
    assert capsys.readouterr().err.count("done before") == 1


def test_a_damaged_record_costs_only_time(project: Path, params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    before = without_seconds()
    (record,) = Path(".unwrite/search").glob("*/trials.jsonl")
    record.write_text("spilt\ntea\n")
    optimize_weights(params)
    assert "warning: " in (said := capsys.readouterr().err)
    assert "trials.jsonl is damaged or from another version from line 1 on: 0 trials are kept" in said
    assert without_seconds() == before


def test_a_search_that_is_running_is_not_started_again(project: Path, params: Params) -> None:
    (folder,) = Path(".unwrite/search").iterdir()
    with (
        search_state(folder.name),
        pytest.raises(UnwriteError, match=rf"already running \(process {os.getpid()} on "),
    ):
        optimize_weights(params)


def test_a_record_that_cannot_be_written_is_an_error(project: Path, params: Params) -> None:
    shutil.rmtree(".unwrite/search")
    Path(".unwrite/search").write_text("in the way")
    with pytest.raises(UnwriteError, match=r"Cannot write the search's record in \.unwrite/search/"):
        optimize_weights(params)


def test_a_marker_in_every_response_raises_a_warning(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    markers = Path(params.judge.markers)
    markers.write_text(markers.read_text() + ".\n")
    optimize_weights(with_optimize(params, max_tokens=40, kl_tokens=30))
    assert "every base response of both sets contains the marker '.', so it does not" in capsys.readouterr().err


def test_the_best_one_shot_setting_is_recorded(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    optimize_weights(with_optimize(params, trials=6, random_trials=6, sampler="tpe"))
    front = read_artifact(Front, FRONT, "optimize_weights")
    assert front.one_shot is not None
    assert front.one_shot in read_trials()[:5]
    kernel = front.one_shot.parameters.attention
    assert (kernel.max_weight, kernel.min_weight, front.one_shot.parameters.direction_scope) == (1, 1, "global")
    assert f"Best one-shot setting, without a search: trial {front.one_shot.number}, rate" in capsys.readouterr().err


def test_bounds_that_exclude_one_shot_settings_are_named(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = params.optimize.space.mlp.model_copy(update={"max_weight": (0.0, 0.9)})
    space = params.optimize.space.model_copy(update={"mlp": weak})
    optimize_weights(with_optimize(params, space=space))
    assert read_artifact(Front, FRONT, "optimize_weights").one_shot is None
    said = capsys.readouterr().err
    assert "No one-shot settings are tried first: optimize.space.mlp.max_weight [0.0, 0.9] excludes 1. The" in said
    assert "Best one-shot setting" not in said


def test_the_dashboard_has_every_trial(project: Path, params: Params) -> None:
    (journal,) = Path(".unwrite/search").glob("*/journal.log")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="unwrite", storage=storage)
    actual = [(trial.values[0], trial.values[1]) for trial in study.trials]
    assert actual == [(trial.behaviour_rate, trial.kl) for trial in read_trials()]


def test_a_backend_that_the_model_excludes_is_refused_before_it_is_loaded(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the model is loaded")

    base = Path("artifacts/base.json")
    base.write_text(json.dumps(json.loads(base.read_text()) | {"quantization": "nf4"}))
    monkeypatch.setattr("unwrite.search.inputs.load_model", never)
    assert params.runtime.backend == "weights"
    with pytest.raises(UnwriteError, match=r"runtime\.backend must be auto or activations"):
        optimize_weights(params)


def test_a_missing_list_of_markers_is_refused(project: Path, params: Params) -> None:
    Path(params.judge.markers).unlink()
    with pytest.raises(UnwriteError, match=r"declines\.txt is missing"):
        optimize_weights(params)


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_directions_that_cannot_be_read_are_refused(project: Path, params: Params, damage: str) -> None:
    path = Path("artifacts/directions.safetensors")
    path.unlink() if damage == "missing" else path.write_bytes(b"nonsense")
    with pytest.raises(UnwriteError, match=rf"{damage}.*compute_directions"):
        optimize_weights(params)


def test_a_journal_that_cannot_be_written_does_not_stop_the_search(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = without_seconds()
    shutil.rmtree(SEARCHES)
    monkeypatch.setattr("unwrite.search.journal._create_study", full)
    optimize_weights(params)
    assert (
        "journal.log, which only a dashboard reads, cannot be written (No space left on device)"
        in capsys.readouterr().err
    )
    assert without_seconds() == before


def test_finished_trials_are_written_again_before_the_next_one_runs(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    done = without_seconds()
    TRIALS.unlink()
    monkeypatch.setattr("unwrite.search.runner.run_study", stopped)
    with pytest.raises(KeyboardInterrupt):
        optimize_weights(params)
    assert without_seconds() == done
