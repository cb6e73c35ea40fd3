"""Score the responses: behaviour, degeneration and reference rates with intervals, and mean KL divergences."""

from __future__ import annotations

from pathlib import Path

from unwrite.evaluation.scores import evaluate, metrics, rates_csv_rows, score_model
from unwrite.files.prompts import read_markers
from unwrite.files.records import read_jsonl, write_csv, write_json
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import as_json, read_artifact
from unwrite.schema.geometry_records import Geometry
from unwrite.schema.params import Params
from unwrite.schema.paths import EVALUATION, GEOMETRY, METRICS, RATES, RESPONSES
from unwrite.terms import SETS


def score_responses(params: Params) -> None:
    """Write artifacts/evaluation.json, artifacts/metrics.json and artifacts/plots/rates.csv."""
    markers = read_markers(Path(params.judge.markers))
    confidence = params.score.confidence
    base, edited = (
        score_model(
            {name: read_jsonl(RESPONSES / f"{model}.{name}.jsonl", ["response"]) for name in SETS}, markers, confidence
        )
        for model in ("base", "edited")
    )
    kl_rows = read_jsonl(RESPONSES / "kl.jsonl", ["kl_first_token", "kl_response"])
    evaluation = evaluate(
        base, edited, kl_rows, confidence=confidence, reference_ceiling=params.score.reference_ceiling
    )
    best = read_artifact(Geometry, GEOMETRY, "measure_geometry").best_separated
    write_json(EVALUATION, as_json(evaluation))
    write_json(METRICS, as_json(metrics(evaluation, best.auc)))
    write_csv(RATES, ["rate", "model", "set", "figure", "value", "low", "high", "n"], list(rates_csv_rows(evaluation)))


if __name__ == "__main__":
    run_stage(score_responses)
