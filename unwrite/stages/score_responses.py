"""Score the verdicts: rates and mean KL divergences with intervals, and which rates the edit changed."""

from __future__ import annotations

from unwrite.evaluation.scores import evaluate, metrics, rates_csv_rows
from unwrite.files.records import read_jsonl, write_csv, write_json
from unwrite.pipeline.responses import judged_sets, read_verdicts
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import as_json, read_artifact
from unwrite.schema.evaluation import ClassifierUsed
from unwrite.schema.gate_values import evaluated_gates
from unwrite.schema.geometry_records import Geometry
from unwrite.schema.params import Params
from unwrite.schema.paths import CLASSIFIER, EVALUATION, GEOMETRY, METRICS, RATES, RESPONSES
from unwrite.terms import MODELS


def score_responses(params: Params) -> None:
    """Write artifacts/evaluation.json, artifacts/metrics.json and artifacts/plots/rates.csv."""
    base, edited = ({name: read_verdicts(model, name) for name in judged_sets()} for model in MODELS)
    kl_rows = read_jsonl(RESPONSES / "kl.jsonl", ["kl_first_token", "kl_response"])
    score = params.score
    used = read_artifact(ClassifierUsed, CLASSIFIER, "judge_responses") if CLASSIFIER.is_file() else None
    evaluation = evaluate(
        base,
        edited,
        kl_rows,
        confidence=score.confidence,
        reference_ceiling=score.reference_ceiling,
        classifier=used,
    )
    evaluation = evaluation.model_copy(update={"gates": evaluated_gates(evaluation, params.evaluate.gates)})
    best = read_artifact(Geometry, GEOMETRY, "measure_geometry").best_separated
    write_json(EVALUATION, as_json(evaluation))
    write_json(METRICS, as_json(metrics(evaluation, best.auc)))
    write_csv(RATES, ["rate", "model", "set", "figure", "value", "low", "high", "n"], list(rates_csv_rows(evaluation)))


if __name__ == "__main__":
    run_stage(score_responses)
