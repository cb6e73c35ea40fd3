"""Running a search: it continues where its record ends, and trials.csv holds every trial that has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.example import KEY, SPACE, evaluate, settings
from unwrite.errors import UnwriteError
from unwrite.models.memory import Limits
from unwrite.pipeline.progress import Style
from unwrite.schema.artifacts import TrialParameters
from unwrite.schema.paths import TRIALS
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.front import best_trial
from unwrite.search.runner import run_search
from unwrite.search.state import search_state
from unwrite.search.trial_progress import TrialProgress
from unwrite.search.trials import Measured, TrialOutcome, read_trials, trial_of

WEIGHTS = BackendChoice(backend="weights", trials_at_once=5, limits=Limits(16384, 2048, 1 << 25))


class Formulas:
    """An objective of formulas that chooses a backend on its first list of trials, and can stop after some lists."""

    def __init__(self, stop_after: int = 99) -> None:
        """Stop after so many lists."""
        self.choice: BackendChoice | None = None
        self.lists = 0
        self.stop_after = stop_after
        self.prompts, self.share_of_raced, self.base_rate = 5, 0.5, 1.0

    def show_progress(self, progress: TrialProgress) -> None:
        """Keep the progress, to end each trial there."""
        self.progress = progress

    def evaluate(self, trials: Sequence[TrialParameters], *_: object) -> list[Measured | UnwriteError]:
        """Evaluate the formulas."""
        if self.lists == self.stop_after:
            raise KeyboardInterrupt
        self.lists += 1
        self.choice = WEIGHTS
        for _trial in trials:
            self.progress.advance(5)
            self.progress.end_trial()
        return evaluate(trials)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(objective: Formulas, style: Style = "none", **changes: Any) -> list[TrialOutcome]:
    with search_state(KEY) as state:
        return run_search(objective, settings(**changes), state, layers=9, positions=2, style=style)


def measured(outcomes: Sequence[TrialOutcome]) -> list[object]:
    return [trial for outcome in outcomes if (trial := trial_of(outcome)) is not None]


def test_every_batch_is_recorded_with_its_backend_and_written_to_the_table() -> None:
    outcomes = run(Formulas())
    assert len(outcomes) == 20
    assert read_trials() == measured(outcomes)
    with search_state(KEY) as state:
        assert (state.done, state.choice) == (outcomes, WEIGHTS)


def test_a_stopped_search_has_written_the_trials_that_have_ended() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Formulas(stop_after=2))
    with search_state(KEY) as state:
        done = state.done
    assert len(done) == 10
    assert read_trials() == measured(done)
    resumed = Formulas()
    outcomes = run(resumed)
    assert resumed.lists == 2
    assert outcomes[:10] == done


def test_finished_trials_are_written_again_without_running_any(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unwrite")
    outcomes = run(Formulas())
    assert caplog.messages == []
    TRIALS.unlink()
    again = Formulas()
    assert run(again) == outcomes
    assert again.lists == 0
    assert read_trials() == measured(outcomes)
    assert caplog.messages == [f"20 trials were done before (.unwrite/search/{KEY})."]


def test_a_smaller_budget_uses_the_first_trials(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unwrite")
    outcomes = run(Formulas())
    assert run(Formulas(), trials=7) == outcomes[:7]
    assert read_trials() == measured(outcomes[:7])
    assert caplog.messages[-1] == "optimize.trials is 7: only the first 7 count, as if no more had run."


def test_a_space_that_excludes_one_shot_settings_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unwrite")
    run(Formulas(), trials=5, space=SPACE.model_copy(update={"direction_scope": ("per_layer",)}))
    assert caplog.messages[0] == (
        "No one-shot settings are tried first: optimize.space.direction_scope lacks global. "
        "The search has no baseline to beat."
    )


def test_progress_ends_at_the_last_trial_with_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = run(Formulas(), style="lines")
    best = best_trial(outcomes, settings().max_behaviour_rate)
    assert best is not None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(set(lines))
    assert lines[-1].startswith("20 trials: 100%")
    assert f"best so far: trial {best.number}" in lines[-1]
