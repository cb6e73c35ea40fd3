"""Stages in workers write the same bytes as in one process, whichever worker does what, in whatever order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.shuffled import Shuffled
from tests.support.small_project import STAGES
from unwrite.errors import UnwriteError
from unwrite.pipeline.environment import Environment
from unwrite.schema.params import Params

WRITTEN = {
    "extract_residuals": "artifacts/residuals/*",
    "filter_prompts": "artifacts/kept_prompts.json",
    "optimize_weights": "artifacts/front.json",
    "generate_responses": "artifacts/responses/*",
}


def with_runtime(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"runtime": params.runtime.model_copy(update=changes)})


def contents(pattern: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().glob(pattern))}


@pytest.mark.parametrize("stage", WRITTEN)
def test_a_stage_in_workers_writes_the_same_bytes(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    small = with_runtime(params, batch_tokens=200)  # several batches of each set
    STAGES[stage](small)
    expected = contents(WRITTEN[stage])
    assert expected
    table = Path("artifacts/trials.csv")
    trials = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    for path in [*expected, str(table)]:
        Path(path).unlink()
    for search in Path(".unwrite/search").glob("*/trials.jsonl"):
        search.unlink()
    monkeypatch.setattr(f"unwrite.stages.{stage}.open_pool", Shuffled().opened)
    computed_in = STAGES[stage](with_runtime(small, workers=2))
    assert contents(WRITTEN[stage]) == expected
    assert isinstance(computed_in, Environment)
    assert computed_in.dtype == "float32"
    if stage == "optimize_weights":
        assert [line.rpartition(",")[0] for line in table.read_text().splitlines()] == trials


@pytest.mark.parametrize(
    ("stage", "method"),
    [("extract_residuals", "extract"), ("filter_prompts", "judge"), ("generate_responses", "compare")],
)
def test_a_batch_that_workers_died_of_ends_a_stage_and_leaves_what_was_there(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, stage: str, method: str
) -> None:
    before = contents(WRITTEN[stage])
    monkeypatch.setattr(f"unwrite.stages.{stage}.open_pool", Shuffled(lost=0, loses=method).opened)
    with pytest.raises(UnwriteError, match="3 workers died of it"):
        STAGES[stage](with_runtime(params, workers=2))
    assert contents(WRITTEN[stage]) == before
