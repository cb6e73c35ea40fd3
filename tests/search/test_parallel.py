"""The objective in workers: the same measurements as in one process, in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.search.conftest import prepared, with_runtime
from tests.search.test_objective import TRIALS
from tests.support.shuffled import Shuffled
from unwrite.editing.recipe import edit_settings
from unwrite.schema.artifacts import read_base
from unwrite.schema.params import Params
from unwrite.search.inputs import read_files
from unwrite.search.parallel import ParallelObjective, prepare_workers
from unwrite.search.trial_progress import trial_progress
from unwrite.search.worker import SearchSetup
from unwrite.workers.model_setup import ModelSetup
from unwrite.workers.pool import Pool

pytestmark = pytest.mark.usefixtures("demo_project")


def in_workers(params: Params, pool: Shuffled) -> ParallelObjective:
    """Return the objective in these workers."""
    settings = edit_settings(params.optimize, "projected")
    files = read_files(params, read_base())
    setup = SearchSetup(ModelSetup(files.base, Path.cwd(), params.runtime, "float32"), files, params.optimize, settings)
    stand_in: Any = pool
    return prepare_workers(stand_in, setup, [], None)


@contextmanager
def progress_of(objective: ParallelObjective) -> Iterator[None]:
    with trial_progress(trials=4, batch=4, prompts=16, share_of_raced=1.0, style="lines", done=0) as shown:
        objective.show_progress(shown)
        yield


@pytest.mark.parametrize(("backend", "at_once"), [("weights", 0), ("activations", 3), ("auto", 0)])
def test_measurements_are_those_of_one_process(backend: str, at_once: int, capsys: pytest.CaptureFixture[str]) -> None:
    params = with_runtime(backend=backend, trials_at_once=at_once)
    alone = prepared(params, read_base())
    expected = alone.evaluate(TRIALS)
    objective = in_workers(params, Shuffled())
    assert (objective.base_rate, objective.prompts, objective.share_of_raced) == (
        alone.base_rate,
        alone.prompts,
        alone.share_of_raced,
    )
    with progress_of(objective):
        assert objective.evaluate(TRIALS) == expected
    assert objective.choice is not None
    assert (objective.choice.backend, objective.choice.limits) == (
        "activations" if backend == "activations" else "weights",
        alone.context.limits,
    )
    assert "4 trials: 100%" in capsys.readouterr().err


def test_a_lost_group_fails_its_trials_alone() -> None:
    params = with_runtime(backend="activations", trials_at_once=2)
    expected = prepared(params, read_base()).evaluate(TRIALS)
    results = in_workers(params, Shuffled(lost=0)).evaluate(TRIALS)
    assert [str(result) for result in results[:2]] == ["3 workers died of it"] * 2
    assert results[2:] == expected[2:]


def test_the_other_workers_do_as_the_first_one_chose() -> None:
    pool = Shuffled()
    objective = in_workers(with_runtime(backend="auto"), pool)
    assert [made.report().choice for made in pool.made] == [objective.choice] * 2
    assert objective.choice is not None
    assert pool.makers[1].args[1] == objective.choice


def test_the_stand_in_has_what_a_pool_has() -> None:
    assert {name for name in dir(Shuffled) if name[0] != "_" and name != "opened"} <= set(dir(Pool))
