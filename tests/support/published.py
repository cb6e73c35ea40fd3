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
from unwrite.files.records import write_json
from unwrite.release.card import card_figures
from unwrite.schema.artifacts import as_json
from unwrite.schema.evaluation import Evaluation, ModelScores, SetScores, Share

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
        return SetScores(behaviour_rate=share(behaviour), degenerate_rate=share(1), reference_accuracy=share(accuracy))

    return Evaluation(
        confidence=confidence,
        base=ModelScores(target=scores(n - 1, 2), baseline=scores(3, n - 2)),
        edited=ModelScores(target=scores(4, n // 2), baseline=scores(5, n - 3)),
        kl_first_token=0.002,
        kl_response=0.015,
        reference_ceiling=parameters["score"]["reference_ceiling"],
    )


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
