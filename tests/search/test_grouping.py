"""Which trials share forward passes: on activations a few at a time, and alone what must be edited on weights."""

import pytest

from tests.search.conftest import prepared, with_runtime
from tests.search.test_objective import TRIALS
from unwrite.schema.artifacts import read_base
from unwrite.terms import BackendName


@pytest.mark.usefixtures("demo_project")
@pytest.mark.parametrize(
    ("backend", "at_once", "expected"),
    [
        ("weights", 3, [[0], [1], [2], [3]]),
        ("activations", 3, [[0, 1, 2], [3]]),
        ("activations", 0, [[0, 1, 2], [3]]),  # small_params has batches of three
        ("activations", 1, [[0], [1], [2], [3]]),
    ],
)
def test_trials_share_a_pass_by_backend(backend: BackendName, at_once: int, expected: list[list[int]]) -> None:
    objective = prepared(with_runtime(backend=backend, trials_at_once=at_once), read_base())
    assert objective.groups(TRIALS) == expected


@pytest.mark.usefixtures("demo_project")
def test_a_trial_that_needs_weights_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = prepared(with_runtime(backend="activations", trials_at_once=2), read_base())
    second = iter([None, "it adds a bias", None, None])
    monkeypatch.setattr("unwrite.search.grouping.why_recipe_needs_weights", lambda *_: next(second))
    assert objective.groups(TRIALS) == [[1], [0, 2], [3]]
