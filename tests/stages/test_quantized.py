"""Directions and recipes from a quantized model: nearly those of the model itself, and good enough to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.support.small_project import run_stage
from unwrite.editing.recipe import edit_settings
from unwrite.models.quantized import load_quantized
from unwrite.schema.artifacts import read_base
from unwrite.schema.params import Params
from unwrite.search.inputs import read_inputs
from unwrite.search.objective import prepare_objective
from unwrite.search.space import one_shot_settings, trial_parameters
from unwrite.search.trials import Measured
from unwrite.terms import Quantization

PROMPTS = 100


def quantized(params: Params, quantization: Quantization) -> Params:
    splits = params.tokenize.splits.model_copy(update={"train": PROMPTS, "validation": 40})
    sections = {
        "model": params.model.model_copy(update={"quantization": quantization}),
        "tokenize": params.tokenize.model_copy(update={"splits": splits}),
        "runtime": params.runtime.model_copy(update={"batch_tokens": 16384, "backend": "auto"}),
    }
    return params.model_copy(update=sections)


def watched_loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that records the quantization of each model loaded from now on."""
    loads: list[str] = []

    def watched(load: Any, skeleton: Any, quantization: Quantization, *rest: Any) -> Any:
        loads.append(quantization)
        return load_quantized(load, skeleton, quantization, *rest)

    monkeypatch.setattr("unwrite.models.loading.load_quantized", watched)
    return loads


def directions(params: Params, quantization: Quantization) -> Tensor:
    """Return the directions at the last position, [L+1, d]."""
    settings = quantized(params, quantization)
    for name in ("pin_model", "tokenize_prompts", "extract_residuals", "filter_prompts", "compute_directions"):
        run_stage(name, settings)
    return load_file("artifacts/directions.safetensors")["directions"][0]


@pytest.mark.parametrize(("quantization", "least"), [("nf4", 0.95), ("int8", 0.99)])
def test_directions_of_a_quantized_model_are_nearly_the_same(
    project: Path, params: Params, quantization: Quantization, least: float, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = directions(params, "none")
    actual = directions(params, quantization)
    assert not actual[0].any()  # at the embedding the last template token is the same for every prompt
    cosines = (plain * actual).sum(-1)[1:]
    assert float(cosines.min()) >= least
    assert not torch.equal(plain[1:], actual[1:])
    assert f"{quantization}: 42 of 43 linear layers are quantized; " in capfd.readouterr().err
    assert json.loads(Path("artifacts/base.json").read_text())["quantization"] == quantization


def test_trials_are_measured_on_four_bits(project: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """They use activations only, with products from the weights of the checkpoint."""
    settings = quantized(params, "nf4")
    directions(params, "nf4")
    loads = watched_loads(monkeypatch)
    objective = prepare_objective(
        read_inputs(settings, read_base()),
        settings.optimize,
        edit_settings(settings.optimize, "projected"),
        settings.runtime,
    )
    assert loads == ["nf4"]
    assert objective.context.base_rate >= 0.9
    measured = objective.evaluate(
        [trial_parameters(setting) for setting in one_shot_settings(settings.optimize.space, layers=6)]
    )
    rates = [trial.behaviour_rate for trial in measured if isinstance(trial, Measured)]
    assert len(rates) == len(measured) > 1
    assert min(rate for rate in rates if rate is not None) <= 0.05


def test_a_search_on_four_bits_removes_the_behaviour(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release is written from the checkpoint, in its own dtype."""
    settings = quantized(params, "nf4")
    settings = settings.model_copy(
        update={"optimize": params.optimize.model_copy(update={"trials": 12, "random_trials": 6, "batch": 4})}
    )
    directions(params, "nf4")
    loads = watched_loads(monkeypatch)
    run_stage("optimize_weights", settings)
    assert loads == ["nf4"]
    front = json.loads(Path("artifacts/front.json").read_text())
    assert front["base_behaviour_rate"] >= 0.9
    assert min(trial["behaviour_rate"] for trial in front["trials"]) <= 0.05
    run_stage("select_trial", settings)
    run_stage("merge_model", settings)
    run_stage("generate_responses", settings)
    assert loads == ["nf4"]  # the final evaluation loads both models unquantized
    base, merged = (load_file(folder / "model.safetensors") for folder in (Path("demo/model"), Path("artifacts/model")))
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in base.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in merged.items()
    }
    assert any(not torch.equal(base[name], merged[name]) for name in base)
