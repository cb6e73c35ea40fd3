"""The chart of the search: what each trial is, where it is, and which trials the line joins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.samples import KERNEL, sample_trial, selected
from unwrite.report.search_chart import front_steps, log_places, search_chart, trial_rows
from unwrite.schema.artifacts import Front, Trial


def kinds(rows: list[dict[str, Any]]) -> dict[int, str]:
    return {row["number"]: row["kind"] for row in rows}


def test_each_trial_is_one_row_that_says_what_it_is(trials: list[Trial], front: Front) -> None:
    with_baseline = front.model_copy(update={"one_shot": trials[3]})
    rows = trial_rows(trials, [sample_trial(9, 0.3, 0.02)], with_baseline, selected(trials[1]))
    assert kinds(rows) == {
        0: "front",
        1: "selected",
        2: "front",
        3: "one-shot baseline",
        4: "front",
        5: "trial",
        9: "stopped: at least this rate",
    }
    assert rows[-1]["number"] == 1  # drawn over the others


def test_a_baseline_that_only_the_front_record_names_is_shown(trials: list[Trial], front: Front) -> None:
    with_baseline = front.model_copy(update={"one_shot": sample_trial(77, 0.03, 0.0125)})
    assert kinds(trial_rows(trials, [], with_baseline, selected(trials[1])))[77] == "one-shot baseline"


def test_the_selected_trial_may_be_any_trial(trials: list[Trial], front: Front) -> None:
    assert kinds(trial_rows(trials, [], front, selected(trials[3])))[3] == "selected"
    only = trial_rows(trials[:1], [], front.model_copy(update={"trials": trials[:1]}), selected(trials[0]))
    assert kinds(only) == {0: "selected"}


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_line_joins_exactly_the_trials_that_no_other_beats(objectives: list[tuple[float, float]]) -> None:
    trials = [sample_trial(number, *both) for number, both in enumerate(objectives)]
    line = list(front_steps(trials))
    for trial in trials:
        beaten = any(
            other.kl <= trial.kl
            and other.behaviour_rate <= trial.behaviour_rate
            and (other.kl, other.behaviour_rate) != (trial.kl, trial.behaviour_rate)
            for other in trials
        )
        assert ((trial.kl, trial.behaviour_rate) in {(one.kl, one.behaviour_rate) for one in line}) != beaten
    assert [trial.kl for trial in line] == sorted(trial.kl for trial in line)


def test_a_divergence_of_zero_is_left_of_all_others_on_the_log_axis(trials: list[Trial], front: Front) -> None:
    zero = trials[0].model_copy(update={"kl": 0.0})
    rows = trial_rows([zero, *trials[1:]], [], front, selected(trials[1]))
    assert all(row["place"] > 0 for row in rows)
    spec = search_chart(rows, front).to_dict()
    titles = {layer["encoding"]["x"]["title"] for layer in spec["layer"] if "x" in layer["encoding"]}
    assert titles == {"KL divergence (nats)"}  # the front's record still has the original


def test_the_edge_of_the_log_axis_is_named_where_something_is_there(trials: list[Trial], front: Front) -> None:
    zero = [sample_trial(0, 0.5, 0.0), trials[1]]
    only = front.model_copy(update={"trials": zero})
    rows = trial_rows(zero, [], only, selected(trials[1]))
    points = search_chart(rows, only).to_dict()["layer"][2]
    assert points["encoding"]["x"]["title"] == "KL divergence (nats), 0 at the left edge"
    assert log_places([0.0, 0.2, 0.1])(0.0) == 0.05
    assert log_places([0.0])(-1e-9) == 0.0


@pytest.mark.parametrize(
    ("scope", "words"),
    [("global", "at residual index 1.50"), ("per_layer", "each layer's own"), ("spans", "by spans of layers")],
)
def test_parameters_are_in_words(trials: list[Trial], front: Front, scope: str, words: str) -> None:
    none = KERNEL.model_copy(update={"max_weight": -0.5})
    trial = sample_trial(0, direction_scope=scope, mlp=none)
    (row,) = trial_rows([trial], [], front.model_copy(update={"trials": []}), selected(trial))
    assert words in row["direction"]
    assert row["attention"] == "1.20 at layer 1.0, 0.40 at a distance of 1.8"
    assert row["mlp"] == "not edited"
