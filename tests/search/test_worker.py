"""A worker of a search, in this process: it measures what the objective measures, and settles how."""

from pathlib import Path

import pytest

from tests.search.conftest import prepared, with_runtime
from tests.search.test_objective import TRIALS
from unwrite.editing.recipe import edit_settings
from unwrite.schema.artifacts import read_base
from unwrite.search.inputs import read_files
from unwrite.search.racing import ANY_TRIAL
from unwrite.search.worker import SearchSetup, SearchWorker
from unwrite.workers.model_setup import ModelSetup

pytestmark = pytest.mark.usefixtures("demo_project")


def test_it_measures_as_the_objective_does_and_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    params = with_runtime(backend="auto", progress="lines")
    settings = edit_settings(params.optimize, "projected")
    setup = SearchSetup(
        ModelSetup(read_base(), Path.cwd(), params.runtime, "float32"),
        read_files(params, read_base()),
        params.optimize,
        settings,
    )
    unsettled = SearchWorker(setup, None)
    assert unsettled.report().choice is None
    worker = SearchWorker(setup, None, TRIALS[:1])
    report = worker.report()
    assert report.choice is not None
    assert report.choice.backend == "weights"  # the model is on a CPU
    assert "base responses" not in capsys.readouterr().err
    alone = prepared(params, read_base())
    assert (report.base_rate, report.share_of_raced) == (alone.base_rate, alone.share_of_raced)
    assert worker.measure(TRIALS, ANY_TRIAL) == alone.evaluate(TRIALS)
    assert worker.groups(TRIALS) == [[0], [1], [2], [3]]
