"""The objective on the demo: the same trials whichever way they are measured, and how that is settled."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from stages.compute_directions import compute_directions
from stages.extract_residuals import extract
from stages.pin_model import pin_model
from stages.tokenize_prompts import tokenize_prompts
from tests.stages.conftest import ROOT, small_params
from tests.support.accelerator import Accelerator
from tests.support.samples import sample_trial
from unwrite.editing.recipe import edit_settings
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Base, Edit, Kernel, TrialParameters, read_base
from unwrite.schema.params import Params
from unwrite.search.backends import EvaluationContext, Result, on_activations, on_weights
from unwrite.search.objective import Objective, prepare_objective
from unwrite.search.trials import Measured

LIMITS = "300 300 33554432"  # batch_tokens of small_params, on a CPU
FULL = Kernel(max_weight=1.0, max_weight_position=2.5, min_weight=1.0, min_weight_distance=5.0)
OFF = FULL.model_copy(update={"max_weight": 0.0, "min_weight": 0.0})


def prepared(params: Params, base: Base, **named: Any) -> Objective:
    return prepare_objective(params, base, edit_settings(params.optimize, "projected"), **named)


def trial(**changes: object) -> TrialParameters:
    return sample_trial(**{"direction_index": 3.0, "attention": FULL, "mlp": FULL, **changes}).parameters  # type: ignore[arg-type]


TRIALS = [
    trial(),
    trial(direction_index=3.6, position=1),
    trial(direction_scope="per_layer", mlp=FULL.model_copy(update={"max_weight": 1.4})),
    trial(attention=OFF, mlp=OFF),
]


def float32() -> Params:
    params = small_params()
    return params.model_copy(
        update={
            "model": params.model.model_copy(update={"dtype": "float32"}),
            "runtime": params.runtime.model_copy(update={"backend": "auto"}),
        }
    )


def with_runtime(**changes: object) -> Params:
    params = float32()
    return params.model_copy(update={"runtime": params.runtime.model_copy(update=changes)})


@pytest.fixture(scope="module")
def directions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with directions."""
    folder = tmp_path_factory.mktemp("directions")
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    shutil.copytree(ROOT / "demo/model", folder / "demo/model")
    with chdir(folder):
        for stage in (pin_model, tokenize_prompts, extract, compute_directions):
            stage(float32())
    return folder


@pytest.fixture(autouse=True)
def project(directions: Path) -> Iterator[None]:
    with chdir(directions):
        yield


def assert_same(found: list[Result], expected: list[Result]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Measured)
        assert isinstance(other, Measured)
        assert one.behaviour_rate == other.behaviour_rate
        assert one.kl == pytest.approx(other.kl, rel=1.1e-3, abs=1e-6)


def test_weights_and_activations_measure_the_same() -> None:
    told: list[str] = []
    by_weights = prepared(with_runtime(backend="weights"), read_base(), choose=told.append)
    assert (by_weights.base_rate, by_weights.positions) == (1, 2)
    expected = by_weights.evaluate(TRIALS)
    first, *_, nothing = expected
    assert isinstance(first, Measured)
    assert isinstance(nothing, Measured)
    assert (nothing.behaviour_rate, nothing.kl) == (1, 0)
    assert first.behaviour_rate is not None
    assert first.behaviour_rate < 0.5
    for at_once in (0, 1, 3):
        changed = with_runtime(backend="activations", trials_at_once=at_once)
        found = prepared(changed, read_base(), choose=told.append)
        assert_same(found.evaluate(TRIALS), expected)
    # All of a batch, which small_params has three of.
    assert told == [f"{way} {LIMITS}" for way in ("weights 3", "activations 3", "activations 1", "activations 3")]


@pytest.mark.parametrize("choose_backend", ["weights", "activations"])
def test_what_is_faster_is_chosen_once_and_kept(
    choose_backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def settled(scene: EvaluationContext, recipes: list[list[Edit]], at_once: int) -> tuple[str, str, list[Result]]:
        assert at_once == len(TRIALS)
        by_weights = choose_backend == "weights"
        results = on_weights(scene, recipes) if by_weights else on_activations(scene, recipes, at_once)
        return choose_backend, f"{choose_backend} (so much a trial)", results

    monkeypatch.setattr("unwrite.search.objective.choose_backend", settled)
    found = prepared(float32(), read_base(), choose=told.append)
    assert told == []
    first = found.evaluate(TRIALS)
    assert told == [f"{choose_backend} 4 {LIMITS}"]
    assert f"Trials are measured on {choose_backend} (so much a trial)." in capsys.readouterr().err
    monkeypatch.setattr("unwrite.search.objective.choose_backend", None)
    assert found.evaluate(TRIALS) == first
    again = prepared(float32(), read_base(), chosen=told[0], choose=told.append)
    assert again.evaluate(TRIALS) == first
    assert told == [told[0]] * 2


@pytest.mark.parametrize(
    "chosen", ["", "activations", "activations many 1 1 1", "weights 3", "both 3 1 1 1", f"weights {LIMITS}"]
)
def test_a_choice_that_is_not_one_is_made_again(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make(_: EvaluationContext, recipes: list[list[Edit]], at_once: int) -> tuple[str, str, list[list[Edit]]]:
        made.append(at_once)
        return "weights", "weights", recipes

    monkeypatch.setattr("unwrite.search.objective.choose_backend", make)
    prepared(float32(), read_base(), chosen=chosen).evaluate(TRIALS[:1])
    assert made == [1]


def test_runtime_comes_before_what_was_chosen() -> None:
    told: list[str] = []
    changed = with_runtime(backend="weights")
    prepared(changed, read_base(), chosen=f"activations 5 {LIMITS}", choose=told.append)
    assert told == [f"weights 3 {LIMITS}"]


def test_what_an_accelerator_has_room_for_is_found_once_a_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    auto = with_runtime(backend="activations", batch_tokens="auto")
    found = Accelerator(total=10**9, a_token=10_000)
    found.pretend(monkeypatch, "unwrite.evaluation.limits")
    expected = prepared(auto, read_base(), choose=told.append).evaluate(TRIALS)
    assert len(found.passes) == 3
    tokens = int(told[0].split()[2])
    # The writers' weights may be exchanged for others.
    exchanged = 4 * sum(math.prod(writer.shape) for writer in read_base().writers)
    assert tokens == int(0.7 * (10**9 - 1000 - exchanged) / 10_000)
    assert told == [f"activations 3 {tokens} {tokens} {int(0.2 * (10**9 - 1000 - exchanged) / 32)}"]
    assert f"A forward pass holds at most {tokens} tokens." in capsys.readouterr().err
    less = Accelerator(total=10**8, a_token=10_000)
    less.pretend(monkeypatch, "unwrite.evaluation.limits")
    again = prepared(auto, read_base(), chosen=told[0], choose=told.append)
    assert told[1:] == told[:1]
    assert less.passes == []
    assert again.evaluate(TRIALS) == expected
    prepared(auto, read_base(), choose=told.append)  # the control: another search, with less room
    assert told[2] != told[0]


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantized_model_measures_nearly_the_same_and_no_weight_is_touched(quantization: str) -> None:
    told: list[str] = []
    expected = prepared(with_runtime(backend="weights"), read_base()).evaluate(TRIALS)
    base = read_base().model_copy(update={"quantization": quantization})
    quantized = prepared(float32(), base, choose=told.append)
    assert told == [f"activations 3 {LIMITS}"]
    for one, other in zip(quantized.evaluate(TRIALS), expected, strict=True):
        assert isinstance(one, Measured)
        assert isinstance(other, Measured)
        assert one.behaviour_rate == pytest.approx(other.behaviour_rate, abs=0.13)  # one prompt of the eight
        assert one.kl == pytest.approx(other.kl, rel=0.5, abs=1e-6)
    assert quantized.base_rate == 1


def test_quantized_weights_are_not_exchanged() -> None:
    base = read_base().model_copy(update={"quantization": "nf4"})
    with pytest.raises(UnwriteError, match="is weights, but the model is quantized \\(nf4\\)"):
        prepared(with_runtime(backend="weights"), base)


def test_nothing_to_remove(tmp_path: Path) -> None:
    markers = tmp_path / "markers.txt"
    markers.write_text("a phrase that nobody says\n")
    params = float32()
    other = params.model_copy(update={"judge": params.judge.model_copy(update={"markers": str(markers)})})
    with pytest.raises(UnwriteError, match="None of the 8 target validation prompts shows the behaviour"):
        prepared(other, read_base())


def test_a_marker_that_every_text_contains_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    markers = tmp_path / "markers.txt"
    markers.write_text("sorry\n**\n")
    params = float32()
    other = params.model_copy(update={"judge": params.judge.model_copy(update={"markers": str(markers)})})
    with pytest.raises(
        UnwriteError, match=r"markers\.txt: marker '\*\*' is empty once normalized.*\. Remove that line"
    ):
        prepared(other, read_base())


def test_a_marker_that_everything_contains_separates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    markers = tmp_path / "markers.txt"
    markers.write_text(".\n")
    params = float32()
    changes = {
        "judge": params.judge.model_copy(update={"markers": str(markers)}),
        "optimize": params.optimize.model_copy(update={"max_tokens": 40, "kl_tokens": 40}),
    }
    prepared(params.model_copy(update=changes), read_base())
    assert "contains the marker '.'" in capsys.readouterr().err
