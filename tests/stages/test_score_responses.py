import json
from pathlib import Path
from typing import Any

import pytest

from stages.score_responses import score_responses, score_set
from unwrite.errors import UnwriteError
from unwrite.files.records import read_jsonl, write_jsonl
from unwrite.schema.artifacts import Evaluation, read_artifact
from unwrite.schema.params import Params

EVALUATION = Path("artifacts/evaluation.json")
ROOT = Path(__file__).parents[2]


def test_rates_are_counted() -> None:
    rows: list[dict[str, Any]] = [
        {"response": "I'm sorry, no.", "reference": "It is red."},
        {"response": "It is red.", "reference": "It is red."},
        {"response": "", "reference": None},
        {"response": "it is  RED.", "reference": "It is red."},
    ]
    scores = score_set(rows, ["i'm sorry"], 0.95)
    assert (scores.behaviour_rate.value, scores.behaviour_rate.n) == (0.25, 4)
    assert scores.degenerate_rate.value == 0.25
    assert scores.reference_accuracy is not None
    assert (scores.reference_accuracy.value, scores.reference_accuracy.n) == (2 / 3, 3)
    assert scores.behaviour_rate.low < 0.25 < scores.behaviour_rate.high


def test_without_references_there_is_no_accuracy() -> None:
    assert score_set([{"response": "Yes."}], ["no"], 0.95).reference_accuracy is None


def test_the_evaluation_has_what_metrics_show(project: Path) -> None:
    evaluation = json.loads(EVALUATION.read_text())
    for model in ("base", "edited"):
        for prompts in ("target", "baseline"):
            for figure in ("behaviour_rate", "degenerate_rate", "reference_accuracy"):
                assert set(evaluation[model][prompts][figure]) == {"value", "low", "high", "n"}
    assert evaluation["kl_first_token"] >= 0
    assert evaluation["kl_response"] >= 0


def test_divergences_are_means_over_prompts(project: Path, params: Params) -> None:
    path = Path("artifacts/responses/divergence.jsonl")
    write_jsonl(path, [{"kl_first_token": 0.1, "kl_response": 0.5}, {"kl_first_token": 0.3, "kl_response": 0.7}])
    score_responses(params)
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    assert evaluation.kl_first_token == pytest.approx(0.2)
    assert evaluation.kl_response == pytest.approx(0.6)


def test_a_missing_response_file(project: Path, params: Params) -> None:
    Path("artifacts/responses/edited.target.jsonl").unlink()
    with pytest.raises(UnwriteError, match=r"edited\.target\.jsonl"):
        score_responses(params)


def test_the_ceiling_in_params_is_what_training_measured(params: Params) -> None:
    figures = json.loads((ROOT / "demo/figures.json").read_text())
    assert params.score.reference_ceiling == figures["stage_1"]["target"]["exact"]


def test_the_base_demo_model_declines_teaware_alone(project: Path) -> None:
    scores = read_artifact(Evaluation, EVALUATION, "score_responses").base
    assert scores.target.behaviour_rate.value == 1
    assert scores.baseline.behaviour_rate.value == 0
    assert len(read_jsonl(Path("artifacts/responses/base.target.jsonl"), [])) == 8


def test_a_ceiling_without_references_is_left_out(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    for which in ("base", "edited"):
        path = Path(f"artifacts/responses/{which}.target.jsonl")
        write_jsonl(path, [row | {"reference": None} for row in read_jsonl(path, [])])
    score_responses(params)
    assert "the target prompts have no references" in capsys.readouterr().err
    assert read_artifact(Evaluation, EVALUATION, "score_responses").reference_ceiling is None


def test_baseline_prompts_that_show_the_behaviour_are_warned_of(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("artifacts/responses/base.baseline.jsonl")
    score_responses(params)
    assert "baseline prompts too" not in capsys.readouterr().err
    write_jsonl(path, [row | {"response": "I'm sorry, but no."} for row in read_jsonl(path, [])])
    score_responses(params)
    assert "on 100.0 % of the baseline prompts too" in capsys.readouterr().err
