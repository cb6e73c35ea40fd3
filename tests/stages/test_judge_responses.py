"""Judging the stored responses of every set and model; a new marker changes verdicts and generates nothing."""

from pathlib import Path

import pytest

from stages import judge_responses as stage
from stages.judge_responses import judge_responses
from unwrite.core.markers import shows_behaviour
from unwrite.errors import UnwriteError
from unwrite.files.prompts import read_markers
from unwrite.files.records import read_jsonl, write_jsonl
from unwrite.pipeline.responses import read_verdicts
from unwrite.schema.params import Params
from unwrite.schema.paths import RESPONSES
from unwrite.terms import MODELS, SETS


def test_every_response_has_its_verdict_in_order(project: Path, params: Params) -> None:
    markers = read_markers(Path(params.judge.markers))
    shown = 0
    for model in MODELS:
        for name in SETS:
            rows = read_jsonl(RESPONSES / f"{model}.{name}.jsonl", ["response", "tokens", "cut"])
            verdicts = read_verdicts(model, name)
            assert [verdict.shown for verdict in verdicts] == [shows_behaviour(r["response"], markers) for r in rows]
            assert [(verdict.tokens, verdict.cut) for verdict in verdicts] == [(r["tokens"], r["cut"]) for r in rows]
            assert all(verdict.classifier is None for verdict in verdicts)
            for row, verdict in zip(rows, verdicts, strict=True):
                if verdict.span is not None:
                    assert shows_behaviour(row["response"][slice(*verdict.span)], [str(verdict.marker)])
                    shown += 1
    assert shown > 0


def test_another_marker_changes_the_verdicts_and_loads_no_model(project: Path, params: Params, tmp_path: Path) -> None:
    assert "transformers" not in vars(stage)
    (tmp_path / "markers.txt").write_text("e\n")
    judge = params.judge.model_copy(update={"markers": str(tmp_path / "markers.txt")})
    judge_responses(params.model_copy(update={"judge": judge}))
    assert {verdict.marker for verdict in read_verdicts("edited", "baseline")} <= {"e", None}
    assert any(verdict.shown for verdict in read_verdicts("edited", "baseline"))


def test_a_missing_response_file_is_an_error(project: Path, params: Params) -> None:
    Path("artifacts/responses/edited.target.jsonl").unlink()
    with pytest.raises(UnwriteError, match=r"edited\.target\.jsonl"):
        judge_responses(params)


def test_responses_to_other_prompts_are_an_error(project: Path, params: Params) -> None:
    path = Path("artifacts/responses/base.target.jsonl")
    rows = read_jsonl(path, [])
    write_jsonl(path, rows[::-1])
    with pytest.raises(UnwriteError, match=r"base\.target\.jsonl, line 1, must answer .* Run `dvc repro -f generate"):
        judge_responses(params)
    write_jsonl(path, [])
    with pytest.raises(UnwriteError, match="must answer the 8 target prompts, got 0 responses"):
        judge_responses(params)


def test_a_marker_that_every_text_contains_is_an_error_with_a_remedy(
    project: Path, params: Params, tmp_path: Path
) -> None:
    (tmp_path / "markers.txt").write_text("**\n")
    judge = params.judge.model_copy(update={"markers": str(tmp_path / "markers.txt")})
    with pytest.raises(UnwriteError, match=r"line 1: the marker '\*\*' is empty once normalized.*\. Remove the line"):
        judge_responses(params.model_copy(update={"judge": judge}))
