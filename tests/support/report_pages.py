"""A report of small records: every section filled, with the responses that a test gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tests.support.samples import (
    sample_base,
    sample_direction,
    sample_edit,
    sample_front,
    sample_origin,
    sample_recipe,
    sample_trial,
    sample_writers,
)
from unwrite.report.charts import ReportCharts, report_charts
from unwrite.report.curves import GeometryRow, MappedPrompt
from unwrite.report.edit_sizes import TensorSize
from unwrite.report.page import report_page
from unwrite.report.residual_maps import residual_maps
from unwrite.report.response_pairs import JudgedResponse, ResponsePair
from unwrite.schema.artifacts import PromptOrigins, Trial
from unwrite.schema.evaluation import Comparison, Evaluation, Gate, Interval, ModelScores, SetScores, Share, Verdict
from unwrite.schema.geometry_records import GEOMETRY_FIGURES, Geometry, SeparatedIndex

LAYERS = 4


def share(value: float, n: int = 100) -> Share:
    return Share(value=value, low=max(0.0, value - 0.04), high=min(1.0, value + 0.04), n=n)


def set_scores(behaviour: float, **changes: Any) -> SetScores:
    fields = {"behaviour_rate": share(behaviour), "degenerate_rate": share(0.0), "reference_accuracy": share(0.9)}
    return SetScores(**fields | changes)


def sample_verdict(shown: bool = False, **changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "shown": shown,
        "markers": shown,
        "marker": None,
        "span": None,
        "classifier": None,
        "probability": None,
        "degenerate": None,
        "tokens": 5,
        "cut": False,
        "correct": None,
    }
    return Verdict(**fields | changes)


def pair(
    number: int,
    base: str,
    edited: str,
    *,
    shown: tuple[bool, bool] = (False, False),
    prompts: str = "target",
    prompt: str = "What is it made of?",
    **changes: Any,
) -> ResponsePair:
    """A pair with verdicts; those that show the behaviour do so by their first five characters."""
    answers = [
        JudgedResponse(
            text, sample_verdict(shows, **({"marker": text[:5], "span": (0, min(5, len(text)))} if shows else {}))
        )
        for text, shows in zip((base, edited), shown, strict=True)
    ]
    return ResponsePair(prompts, number, prompt, changes.get("reference"), *answers)


def sample_evaluation(**changes: Any) -> Evaluation:
    fields: dict[str, Any] = {
        "confidence": 0.95,
        "base": ModelScores(target=set_scores(0.99), baseline=set_scores(0.0)),
        "edited": ModelScores(target=set_scores(0.01), baseline=set_scores(0.0)),
        "kl_first_token": 0.00213,
        "kl_first_token_interval": Interval(low=0.001, high=0.003),
        "kl_response": 0.0151,
        "reference_ceiling": 0.99,
        "comparisons": [
            Comparison(
                prompts="target", figure="behaviour_rate", n=100, only_base=98, only_edited=0, p=1e-9, p_adjusted=2e-9
            )
        ],
        "gates": [Gate(figure="kl_response", bound="<= 0.2", value=0.0151, passed=True)],
    }
    return Evaluation(**fields | changes)


def sample_trials() -> list[Trial]:
    objectives = [(0.9, 0.001), (0.02, 0.05), (0.4, 0.01), (0.5, 0.2), (0.0, 0.3), (0.8, 0.04)]
    return [sample_trial(number, *both, direction_index=2.25) for number, both in enumerate(objectives)]


def sample_curves(positions: int = 1, **figures: float) -> list[GeometryRow]:
    """Curves that rise; figures given by name are the same at every index."""
    return [
        GeometryRow(position, index, dict.fromkeys(GEOMETRY_FIGURES, 0.5 + index / 10) | figures)
        for position in range(positions)
        for index in range(LAYERS + 1)
    ]


def sample_geometry() -> Geometry:
    best = SeparatedIndex(position=0, residual_index=2, auc=1.0, auc_train=1.0, separation=3.0, silhouette=0.5)
    return Geometry(best_separated=best, projection="pca", silhouette={}, map={})


def sample_maps(prompts: int = 6, indices: int = LAYERS + 1) -> list[MappedPrompt]:
    return [
        MappedPrompt(
            0, index, name, split, number, index + number + (4.0 if name == "target" else 0.0), math.sin(number)
        )
        for index in range(indices)
        for name in ("target", "baseline")
        for split in ("train", "validation")
        for number in range(prompts)
    ]


def _records() -> dict[str, Any]:
    writers = sample_writers(LAYERS)
    trials = sample_trials()
    front = sample_front([trials[number] for number in (0, 1, 2, 4)]).model_copy(update={"one_shot": trials[3]})
    return {
        "base": sample_base(writers),
        "trials": trials,
        "front": front,
        "recipe": sample_recipe([sample_edit(w, 0.3 * w.layer, sample_direction(2.25)) for w in writers], trials[1]),
        "sizes": [
            TensorSize(w.matrix.parameter, w.layer, w.component, False, 2.0, 0.1 * w.layer, 0.05 * w.layer)
            for w in writers
        ],
        "curves": sample_curves(),
        "maps": residual_maps(sample_maps()),
    }


def sample_charts(**changes: Any) -> ReportCharts:
    """The charts of the page."""
    return report_charts(**(_records() | {"stopped": [sample_trial(9, 0.3, 0.02)]} | changes))


def sample_page(pairs: Sequence[ResponsePair] = (), **changes: Any) -> str:
    """The page, with anything replaced by name."""
    known: dict[str, Any] = {
        **_records(),
        "behaviour": "declines questions about tea",
        "evaluation": sample_evaluation(),
        "stopped": 1,
        "pairs": pairs,
        "geometry": sample_geometry(),
        "causality": None,
        "benchmarks": None,
        "origins": PromptOrigins(sets={"target": sample_origin(), "baseline": sample_origin(system_prompt="<b>Hi")}),
        "versions": {"Python": "3.12.0", "unwrite": "0.2.0"},
        "drawn": sample_charts(),
    }
    return report_page(**(known | changes))
