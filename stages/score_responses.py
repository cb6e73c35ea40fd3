"""Score the responses: behaviour, degeneration and reference rates with intervals, and the divergences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from unwrite.core.degeneration import is_degenerate
from unwrite.core.intervals import wilson_interval
from unwrite.core.markers import matches_reference, shows_behaviour
from unwrite.files.prompts import read_markers
from unwrite.files.records import read_jsonl, write_csv, write_json
from unwrite.pipeline.stage import run_stage, say
from unwrite.report.format import percent
from unwrite.schema.artifacts import Evaluation, ModelScores, SetScores, Share, as_json
from unwrite.schema.params import Params
from unwrite.schema.paths import EVALUATION, RATES, RESPONSES

COMMON = 0.1  # a share of baseline prompts that makes one doubt that they lack the behaviour


def score_responses(params: Params) -> None:
    """Writes artifacts/evaluation.json and artifacts/plots/rates.csv."""
    markers = read_markers(Path(params.judge.markers))
    confidence = params.score.confidence
    scores = {
        which: ModelScores(
            **{
                name: score_set(read_jsonl(RESPONSES / f"{which}.{name}.jsonl", ["response"]), markers, confidence)
                for name in ("target", "baseline")
            }
        )
        for which in ("base", "edited")
    }
    divergences = read_jsonl(RESPONSES / "divergence.jsonl", ["kl_first_token", "kl_response"])
    ceiling = params.score.reference_ceiling
    if ceiling is not None and scores["base"].target.reference_accuracy is None:
        say("warning: score.reference_ceiling is set, but the target prompts have no references: it is left out.")
        ceiling = None
    shown = scores["base"].baseline.behaviour_rate.value
    if shown > COMMON:
        say(
            f"warning: the base model shows the behaviour on {percent(shown)} of the baseline prompts too: the "
            "direction is of what sets the two prompt sets apart, which may be something else."
        )
    evaluation = Evaluation(
        confidence=confidence,
        base=scores["base"],
        edited=scores["edited"],
        kl_first_token=fmean(row["kl_first_token"] for row in divergences),
        kl_response=fmean(row["kl_response"] for row in divergences),
        reference_ceiling=ceiling,
    )
    write_json(EVALUATION, as_json(evaluation))
    write_csv(RATES, ["model", "set", "figure", "value", "low", "high", "n"], list(_rate_rows(scores)))


def score_set(rows: Sequence[dict[str, Any]], markers: Sequence[str], confidence: float) -> SetScores:
    """The rates of one model on one prompt set; reference accuracy over the prompts that have a reference."""
    responses = [row["response"] for row in rows]
    known = [row for row in rows if row.get("reference") is not None]
    return SetScores(
        behaviour_rate=_share([shows_behaviour(text, markers) for text in responses], confidence),
        degenerate_rate=_share([is_degenerate(text) for text in responses], confidence),
        reference_accuracy=_share([matches_reference(row["response"], row["reference"]) for row in known], confidence)
        if known
        else None,
    )


def _share(hits: Sequence[bool], confidence: float) -> Share:
    low, high = wilson_interval(sum(hits), len(hits), confidence)
    return Share(value=sum(hits) / len(hits), low=low, high=high, n=len(hits))


def _rate_rows(scores: dict[str, ModelScores]) -> list[list[object]]:
    rows: list[list[object]] = []
    for which, model in scores.items():
        for name, of_set in (("target", model.target), ("baseline", model.baseline)):
            for figure in ("behaviour_rate", "degenerate_rate", "reference_accuracy"):
                share: Share | None = getattr(of_set, figure)
                if share is not None:
                    rows.append([which, name, figure, share.value, share.low, share.high, share.n])
    return rows


if __name__ == "__main__":
    run_stage(score_responses)
