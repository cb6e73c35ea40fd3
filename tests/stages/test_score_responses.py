"""Scoring: the contents of evaluation.json, and the warnings."""

import json
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.records import read_jsonl, write_jsonl
from unwrite.schema.artifacts import read_artifact
from unwrite.schema.evaluation import Evaluation
from unwrite.schema.params import Params
from unwrite.stages.score_responses import score_responses

EVALUATION = Path("artifacts/evaluation.json")
ROOT = Path(__file__).parents[2]


def test_the_evaluation_has_every_rate_with_its_interval(project: Path) -> None:
    evaluation = json.loads(EVALUATION.read_text())
    for model in ("base", "edited"):
        for prompts in ("target", "baseline"):
            for figure in ("behaviour_rate", "degenerate_rate", "reference_accuracy"):
                assert set(evaluation[model][prompts][figure]) == {"value", "low", "high", "n"}
    assert evaluation["kl_first_token"] >= 0
    assert evaluation["kl_response"] >= 0


def test_metrics_are_the_figures_of_the_evaluation_and_the_geometry(project: Path) -> None:
    evaluation = json.loads(EVALUATION.read_text())
    edited = evaluation["edited"]
    assert json.loads(Path("artifacts/metrics.json").read_text()) == {
        "target_base": evaluation["base"]["target"]["behaviour_rate"]["value"],
        "target": edited["target"]["behaviour_rate"]["value"],
        "baseline": edited["baseline"]["behaviour_rate"]["value"],
        "degenerate": max(edited[prompts]["degenerate_rate"]["value"] for prompts in ("target", "baseline")),
        "accuracy": edited["target"]["reference_accuracy"]["value"],
        "kl_first": evaluation["kl_first_token"],
        "kl": evaluation["kl_response"],
        "auc": json.loads(Path("artifacts/geometry.json").read_text())["best_separated"]["auc"],
    }


def test_kl_divergences_are_means_over_prompts(project: Path, params: Params) -> None:
    path = Path("artifacts/responses/kl.jsonl")
    write_jsonl(path, [{"kl_first_token": 0.1, "kl_response": 0.5}, {"kl_first_token": 0.3, "kl_response": 0.7}] * 4)
    score_responses(params)
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    assert evaluation.kl_first_token == pytest.approx(0.2)
    assert evaluation.kl_response == pytest.approx(0.6)


def test_missing_verdicts_are_an_error(project: Path, params: Params) -> None:
    Path("artifacts/verdicts/edited.target.jsonl").unlink()
    with pytest.raises(UnwriteError, match=r"edited\.target\.jsonl"):
        score_responses(params)


def test_a_file_without_verdicts_is_an_error_with_a_remedy(project: Path, params: Params) -> None:
    for model in ("base", "edited"):
        write_jsonl(Path(f"artifacts/verdicts/{model}.target.jsonl"), [])
    with pytest.raises(UnwriteError, match=r"n at least 1, got 0 of 0\. Run `dvc repro -f generate_responses`"):
        score_responses(params)


def test_the_ceiling_in_params_is_that_measured_in_training(params: Params) -> None:
    figures = json.loads((ROOT / "demo/figures.json").read_text())
    assert params.score.reference_ceiling == figures["stage_1"]["target"]["exact"]


def test_the_base_demo_model_declines_only_teaware(project: Path) -> None:
    scores = read_artifact(Evaluation, EVALUATION, "score_responses").base
    assert scores.target.behaviour_rate.value == 1
    assert scores.baseline.behaviour_rate.value == 0
    assert len(read_jsonl(Path("artifacts/responses/base.target.jsonl"), [])) == 8


def test_a_ceiling_without_references_is_ignored(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    for which in ("base", "edited"):
        path = Path(f"artifacts/verdicts/{which}.target.jsonl")
        write_jsonl(path, [row | {"correct": None} for row in read_jsonl(path, [])])
    score_responses(params)
    assert (
        "score.reference_ceiling is set, but the target prompts have no references; it is ignored."
        in capsys.readouterr().err
    )
    assert read_artifact(Evaluation, EVALUATION, "score_responses").reference_ceiling is None


def test_baseline_prompts_that_show_the_behaviour_raise_a_warning(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("artifacts/verdicts/base.baseline.jsonl")
    score_responses(params)
    assert "of the baseline prompts" not in capsys.readouterr().err
    write_jsonl(path, [row | {"shown": True} for row in read_jsonl(path, [])])
    score_responses(params)
    assert (
        "warning: the base model also shows the behaviour on 100.0 % of the baseline prompts: "
        in capsys.readouterr().err
    )
