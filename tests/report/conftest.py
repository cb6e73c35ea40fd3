"""Small artifacts, built as records: a model of four layers, six trials, a dozen and more responses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.support.report_pages import sample_geometry, sample_maps, sample_verdict
from tests.support.samples import (
    sample_base,
    sample_direction,
    sample_edit,
    sample_front,
    sample_origin,
    sample_outcome,
    sample_recipe,
    sample_trial,
    sample_writer,
)
from unwrite.core.intervals import wilson_interval
from unwrite.files.records import write_csv, write_jsonl
from unwrite.report.curves import MappedPrompt
from unwrite.schema.artifacts import Artifact, Base, FileDigest, Front, PromptOrigins, Recipe, Trial, as_json
from unwrite.schema.evaluation import Benchmarks, Causality, Evaluation, ModelScores, SetScores, Share
from unwrite.schema.geometry_records import GEOMETRY_FIGURES
from unwrite.terms import COMPONENTS

LAYERS = 4


def share(hits: int, n: int = 100) -> Share:
    low, high = wilson_interval(hits, n)
    return Share(value=hits / n, low=low, high=high, n=n)


def scores(behaviour: int, reference: int | None) -> SetScores:
    accuracy = None if reference is None else share(reference)
    return SetScores(behaviour_rate=share(behaviour), degenerate_rate=share(0), reference_accuracy=accuracy)


@pytest.fixture
def base() -> Base:
    writers = [
        sample_writer(layer, component, bias=component == "mlp") for layer in range(LAYERS) for component in COMPONENTS
    ]
    return sample_base(writers, files=[FileDigest(name="model.safetensors", size=5_500_000, sha256="ab" * 32)])


@pytest.fixture
def trials() -> list[Trial]:
    objectives = [(0.9, 0.001), (0.02, 0.05), (0.4, 0.01), (0.5, 0.2), (0.0, 0.3), (0.8, 0.04)]
    return [sample_trial(number, *pair, direction_index=2.25) for number, pair in enumerate(objectives)]


@pytest.fixture
def front(trials: list[Trial]) -> Front:
    return sample_front([trials[number] for number in (0, 1, 2, 4)])


@pytest.fixture
def recipe(trials: list[Trial], base: Base) -> Recipe:
    edits = [
        sample_edit(writer, 0.3 * writer.layer, sample_direction(2.25)) for writer in base.writers if writer.layer > 0
    ]
    return sample_recipe(edits, trials[1], selection="lowest divergence at a behaviour rate of at most 5.0%")


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        confidence=0.95,
        base=ModelScores(target=scores(99, 0), baseline=scores(0, 98)),
        edited=ModelScores(target=scores(1, 97), baseline=scores(0, 98)),
        kl_first_token=0.00213,
        kl_response=0.0151,
        reference_ceiling=0.99,
    )


@pytest.fixture
def project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    base: Base,
    front: Front,
    recipe: Recipe,
    trials: list[Trial],
    evaluation: Evaluation,
) -> Path:
    """A folder with everything the stage reads, made the current one."""
    from unwrite.search.trials import write_trials

    monkeypatch.chdir(tmp_path)
    artifacts = tmp_path / "artifacts"
    (artifacts / "plots").mkdir(parents=True)
    records: dict[str, Artifact] = {
        "base": base,
        "front": front,
        "edit": recipe,
        "evaluation": evaluation,
        "geometry": sample_geometry(),
    }
    records["causality"] = Causality(confidence=0.95, max_tokens=40, untouched=[], checks=[])
    records["benchmarks"] = Benchmarks(harness=None, scores=[])
    origins = {"tokens": {"target": sample_origin(), "baseline": sample_origin()}, "set_tokens": {}}
    records |= {f"{folder}/sources": PromptOrigins(sets=sets) for folder, sets in origins.items()}
    for name, record in records.items():
        (artifacts / f"{name}.json").parent.mkdir(exist_ok=True)
        (artifacts / f"{name}.json").write_text(record.model_dump_json())
    write_trials([sample_outcome(trial) for trial in trials])
    curves = [
        [
            0,
            index,
            *(math.inf if name.startswith("sep") and index == 3 else 0.5 + index / 10 for name in GEOMETRY_FIGURES),
        ]
        for index in range(LAYERS + 1)
    ]
    lines = [",".join(["position", "residual_index", *GEOMETRY_FIGURES]), *(",".join(map(str, row)) for row in curves)]
    (artifacts / "plots" / "geometry.csv").write_text("\n".join(lines) + "\n")
    write_csv(artifacts / "residual_map.csv", MappedPrompt._fields, sample_maps())
    sizes = [[edit.matrix.parameter, 2.0, 0.5, 0.25] for edit in recipe.edits]
    write_csv(artifacts / "plots/edit_size.csv", ["tensor", "norm", "change", "relative"], sizes)
    for which, answer in (("base", "Sorry, not that."), ("edited", "It is made of <b>glass</b> & cork.")):
        for name in ("target", "baseline"):
            rows = [
                {
                    "prompt": f"{name} question {i}?",
                    "reference": "It is made of glass.",
                    "response": answer,
                    "tokens": 5,
                }
                for i in range(15)
            ]
            write_jsonl(artifacts / "responses" / f"{which}.{name}.jsonl", rows)
            verdict = sample_verdict(shown := (which, name) == ("base", "target"), span=(0, 5) if shown else None)
            write_jsonl(artifacts / "verdicts" / f"{which}.{name}.jsonl", [as_json(verdict)] * len(rows))
    return tmp_path
