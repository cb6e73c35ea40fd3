"""The progress of a search moves with prompts, counts every trial once, and expects less of trials that are raced."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.search.trial_progress import TrialProgress, trial_progress


class Log:
    """Keeps what is reported."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.done = 0.0
        self.lines: list[tuple[str, str]] = []

    def __call__(self, done: float, note: str = "", title: str = "") -> None:
        self.done += done
        self.lines.append((title, note))


def test_the_trial_and_its_prompts_are_named_with_the_best_so_far() -> None:
    log = Log()
    progress = TrialProgress(log, trials=60, prompts=100, done=2, weights=[1.0] * 60)
    progress.set_best("trial 1, rate 5.0 %")
    progress.advance(24)
    assert log.lines[-1] == ("trial 3 of 60, 24 of 100 prompts", "best so far: trial 1, rate 5.0 %")
    assert log.done == pytest.approx(0.24)
    progress.end_trial()
    assert log.lines[-1][0] == "trial 4 of 60, 0 of 100 prompts"
    assert log.done == pytest.approx(1.0)


@given(st.lists(st.lists(st.integers(-3, 40), max_size=5), min_size=1, max_size=8), st.integers(1, 9))
def test_a_trial_counts_as_its_weight_however_its_prompts_end(trials: list[list[int]], first: int) -> None:
    log = Log()
    weights = [1.0] * first + [0.25] * len(trials)
    progress = TrialProgress(log, trials=len(trials), prompts=50, done=0, weights=weights)
    for ended in trials:
        for prompts in ended:
            progress.advance(prompts)
        progress.end_trial()
    assert log.done == pytest.approx(sum(weights[: len(trials)]))


@pytest.mark.parametrize(("share", "slow", "fast"), [(0.4, 20.0, 20 * 0.49), (1.0, 20.0, 20.0)])
def test_the_time_left_after_the_third_trial_is_right_within_a_fifth(
    share: float, slow: float, fast: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`slow` and `fast` are the seconds of a trial that runs in full, and of one that is raced, on average."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    settings = {"trials": 60, "batch": 5, "prompts": 10, "share_of_raced": share}
    with trial_progress(**settings, style="auto", done=0) as progress:  # type: ignore[arg-type]
        for _ in range(3):
            now[0] += slow
            progress.advance(10)
            progress.end_trial()
    last = [line for line in capsys.readouterr().err.splitlines() if "left" in line][-1]
    hours, minutes, seconds = map(int, last.split(", ")[-1].removesuffix(" left").split(":"))
    expected = 2 * slow + 55 * fast
    assert 0.8 * expected < 3600 * hours + 60 * minutes + seconds < 1.2 * expected
