"""A release with all that `unwrite publish` adds, and every field of its records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from tests.support.releases import Release, make_release, release_parameters, rewrite_manifest
from unwrite.core.intervals import wilson_interval
from unwrite.core.significance import holm_adjusted, mcnemar_p
from unwrite.files.records import write_json
from unwrite.release.card import card_figures
from unwrite.schema.artifacts import as_json
from unwrite.schema.evaluation import Comparison, Evaluation, Interval, ModelScores, SetScores, Share
from unwrite.schema.gate_values import evaluated_gates
from unwrite.schema.gates import GATED_RATES

Path_ = tuple[str | int, ...]
"""The place of a value in a record: keys and indices."""


def make_published(work: Path) -> Release:
    """A release as `publish` writes it: with parameters, figures, card and lock."""
    release = make_release(work, torch.bfloat16)
    evaluation, parameters = consistent_evaluation(), release_parameters()
    write_json(release.folder / "evaluation.json", as_json(evaluation))
    write_yaml(release.folder / "params.yaml", parameters)
    prompts = {name: parameters["tokenize"][name] for name in ("target", "baseline")}
    write_card(release.folder / "README.md", card_figures("base, edited", evaluation, prompts))
    (release.folder / "dvc.lock").write_text("schema: '2.0'\n")
    rewrite_manifest(release)
    return release


def consistent_evaluation() -> Evaluation:
    """Both models on the test prompts of the demo, every rate with its interval."""
    parameters = release_parameters()
    n, confidence = parameters["tokenize"]["splits"]["test"], parameters["score"]["confidence"]

    def share(hits: int) -> Share:
        low, high = wilson_interval(hits, n, confidence)
        return Share(value=hits / n, low=low, high=high, n=n)

    def scores(behaviour: int, accuracy: int) -> SetScores:
        return SetScores(
            behaviour_rate=share(behaviour),
            degenerate_rate=share(1),
            cut_rate=share(2),
            reference_accuracy=share(accuracy),
            mean_tokens=9.5,
        )

    evaluation = Evaluation(
        confidence=confidence,
        base=ModelScores(target=scores(n - 1, 2), baseline=scores(3, n - 2), sets={"near_misses": scores(1, n - 4)}),
        edited=ModelScores(target=scores(4, n // 2), baseline=scores(5, n - 3), sets={"near_misses": scores(2, n - 5)}),
        kl_first_token=0.002,
        kl_first_token_interval=Interval(low=0.001, high=0.003),
        kl_response=0.015,
        kl_response_interval=Interval(low=0.01, high=0.03),
        reference_ceiling=parameters["score"]["reference_ceiling"],
    )
    gates = evaluated_gates(evaluation, parameters["evaluate"]["gates"])
    return evaluation.model_copy(update={"gates": gates, "comparisons": consistent_comparisons(evaluation)})


def consistent_comparisons(evaluation: Evaluation) -> list[Comparison]:
    """Every rate of both models compared, as if one prompt more had changed in each direction than must have."""
    found = []
    for prompts, before in evaluation.base.by_set().items():
        after = evaluation.edited.by_set()[prompts]
        for figure in GATED_RATES:
            base, edited = getattr(before, figure), getattr(after, figure)
            lost = round((base.value - edited.value) * base.n)
            found.append((prompts, figure, base.n, 1 + max(lost, 0), 1 + max(-lost, 0)))
    p_values = [mcnemar_p(only_base, only_edited) for *_, only_base, only_edited in found]
    return [
        Comparison(prompts=prompts, figure=figure, n=n, only_base=one, only_edited=other, p=p, p_adjusted=adjusted)
        for (prompts, figure, n, one, other), p, adjusted in zip(found, p_values, holm_adjusted(p_values), strict=True)
    ]


def write_yaml(path: Path, values: Any) -> None:
    """Writes values as YAML."""
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(values, stream)


def write_card(path: Path, metadata: dict[str, Any]) -> None:
    """Writes a card with this metadata."""
    write_yaml(path, metadata)
    path.write_text(f"---\n{path.read_text()}---\n\nA card.\n")


def read_record(path: Path) -> Any:
    """The values of a record: JSON, YAML, or the front matter of a card."""
    text = path.read_text()
    if path.suffix == ".json":
        return json.loads(text)
    return YAML(typ="safe", pure=True).load(text.split("---\n")[1] if path.suffix == ".md" else text)


def write_record(path: Path, values: Any) -> None:
    """Writes a record back."""
    {".json": write_json, ".yaml": write_yaml, ".md": write_card}[path.suffix](path, values)


def leaves(values: Any, place: Path_ = ()) -> Iterator[Path_]:
    """The place of every value in a record that is no list and no mapping, and of every empty one."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    inner = [leaf for key, value in items for leaf in leaves(value, (*place, key))]
    yield from inner or [place]


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return ("1" if value[:1] != "1" else "2") + value[1:]  # a sha256 stays one
    if isinstance(value, (int, float)):
        return value + 1 if isinstance(value, int) else value * 1.5 + 0.01
    return "added" if value is None else ["added"] if isinstance(value, list) else {"added": 1}


def at(values: Any, place: Path_) -> Any:
    """The value at a place."""
    for key in place:
        values = values[key]
    return values
