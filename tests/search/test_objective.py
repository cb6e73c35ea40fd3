"""The objective on the demo: both backends measure the same trials alike, and a search keeps the one it has chosen."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.search.conftest import float32, prepared, with_runtime
from tests.support.accelerator import Accelerator
from tests.support.samples import sample_trial
from unwrite.errors import UnwriteError
from unwrite.models.memory import Limits
from unwrite.models.placement import is_offloaded
from unwrite.schema.artifacts import Edit, Kernel, TrialParameters, read_base
from unwrite.search.backend_choice import BackendChoice, ChosenBackend
from unwrite.search.backends import Result
from unwrite.search.context import EvaluationContext
from unwrite.search.trials import Measured
from unwrite.terms import BackendName

pytestmark = pytest.mark.usefixtures("demo_project")

LIMITS = Limits(300, 300, 1 << 25)  # batch_tokens of small_params, on a CPU
FULL = Kernel(max_weight=1.0, max_weight_position=2.5, min_weight=1.0, min_weight_distance=5.0)
OFF = FULL.model_copy(update={"max_weight": 0.0, "min_weight": 0.0})


def chosen(backend: BackendName, at_once: int) -> BackendChoice:
    return BackendChoice(backend=backend, trials_at_once=at_once, limits=LIMITS)


def trial(**changes: object) -> TrialParameters:
    return sample_trial(**{"direction_index": 3.0, "attention": FULL, "mlp": FULL, **changes}).parameters  # type: ignore[arg-type]


TRIALS = [
    trial(),
    trial(direction_index=3.6, position=1),
    trial(direction_scope="per_layer", mlp=FULL.model_copy(update={"max_weight": 1.4})),
    trial(attention=OFF, mlp=OFF),
]


def assert_same(actual: list[Result], expected: list[Result]) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert isinstance(one, Measured)
        assert isinstance(other, Measured)
        assert one.behaviour_rate == other.behaviour_rate
        assert one.kl == pytest.approx(other.kl, rel=1.1e-3, abs=1e-6)


def test_weights_and_activations_measure_the_same() -> None:
    by_weights = prepared(with_runtime(backend="weights"), read_base())
    assert by_weights.choice == chosen("weights", 3)  # small_params has batches of three
    assert (by_weights.context.base_rate, len(by_weights.context.cache.directions)) == (1, 2)
    expected = by_weights.evaluate(TRIALS)
    first, *_, nothing = expected
    assert isinstance(first, Measured)
    assert isinstance(nothing, Measured)
    assert (nothing.behaviour_rate, nothing.kl) == (1, 0)
    assert first.behaviour_rate is not None
    assert first.behaviour_rate < 0.5
    for at_once, expected_at_once in ((0, 3), (1, 1), (3, 3)):
        objective = prepared(with_runtime(backend="activations", trials_at_once=at_once), read_base())
        assert_same(objective.evaluate(TRIALS), expected)
        assert objective.choice == chosen("activations", expected_at_once)


def test_a_model_that_is_partly_on_disk_gives_the_same_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    expected = prepared(with_runtime(device="cpu", backend="activations"), read_base()).evaluate(TRIALS)
    spread: dict[str, object] = {"device": "auto", "max_memory": {"cpu": "1MB"}, "offload_folder": str(tmp_path)}
    objective = prepared(with_runtime(**spread), read_base())
    assert is_offloaded(objective.context.model)
    assert objective.choice == chosen("activations", 3)
    assert objective.evaluate(TRIALS) == expected
    with pytest.raises(UnwriteError, match="offloaded weights cannot be exchanged"):
        prepared(with_runtime(backend="weights", **spread), read_base())


@pytest.mark.parametrize("backend", ["weights", "activations"])
def test_the_backend_is_chosen_once_and_kept(
    backend: BackendName, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def choose(context: EvaluationContext, recipes: list[list[Edit]], at_once: int) -> ChosenBackend:
        assert at_once == len(TRIALS)
        return ChosenBackend(backend, "so much per trial")

    monkeypatch.setattr("unwrite.search.objective.choose_backend", choose)
    objective = prepared(float32(), read_base())
    assert objective.choice is None
    first = objective.evaluate(TRIALS)
    assert objective.choice == chosen(backend, 4)
    assert f"Trials are measured on {backend} (so much per trial)." in capsys.readouterr().err
    monkeypatch.setattr("unwrite.search.objective.choose_backend", None)
    assert objective.evaluate(TRIALS) == first
    resumed = prepared(float32(), read_base(), objective.choice)
    assert resumed.choice == objective.choice
    assert resumed.evaluate(TRIALS) == first
    assert resumed.choice == objective.choice


def test_runtime_takes_precedence_over_an_earlier_choice() -> None:
    objective = prepared(with_runtime(backend="weights"), read_base(), chosen("activations", 5))
    assert objective.choice == chosen("weights", 3)


def test_the_limits_of_an_accelerator_are_measured_once_per_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    auto = with_runtime(backend="activations", batch_tokens="auto")
    accelerator = Accelerator(total=10**9, a_token=10_000)
    accelerator.pretend(monkeypatch, "unwrite.evaluation.pass_limits")
    objective = prepared(auto, read_base())
    expected = objective.evaluate(TRIALS)
    assert len(accelerator.passes) == 3
    # The originals of the writers' weights stay in memory while they are exchanged.
    exchanged = 4 * sum(math.prod(writer.shape) for writer in read_base().writers)
    tokens = int(0.7 * (10**9 - 1000 - exchanged) / 10_000)
    limits = Limits(tokens, tokens, int(0.2 * (10**9 - 1000 - exchanged) / 32))
    assert objective.choice == BackendChoice(backend="activations", trials_at_once=3, limits=limits)
    assert f"A forward pass holds at most {tokens} tokens." in capsys.readouterr().err
    smaller = Accelerator(total=10**8, a_token=10_000)
    smaller.pretend(monkeypatch, "unwrite.evaluation.pass_limits")
    resumed = prepared(auto, read_base(), objective.choice)
    assert resumed.choice == objective.choice
    assert smaller.passes == []
    assert resumed.evaluate(TRIALS) == expected
    another = prepared(auto, read_base())  # the control: another search, with less memory
    assert another.choice != objective.choice


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantized_model_measures_nearly_the_same_without_exchanging_weights(quantization: str) -> None:
    expected = prepared(with_runtime(backend="weights"), read_base()).evaluate(TRIALS)
    base = read_base().model_copy(update={"quantization": quantization})
    quantized = prepared(float32(), base)
    assert quantized.choice == chosen("activations", 3)
    for one, other in zip(quantized.evaluate(TRIALS), expected, strict=True):
        assert isinstance(one, Measured)
        assert isinstance(other, Measured)
        assert one.behaviour_rate == pytest.approx(other.behaviour_rate, abs=0.13)  # one of the eight prompts
        assert one.kl == pytest.approx(other.kl, rel=0.5, abs=1e-6)
    assert quantized.context.base_rate == 1


def test_quantized_weights_cannot_be_exchanged() -> None:
    base = read_base().model_copy(update={"quantization": "nf4"})
    with pytest.raises(UnwriteError, match=r"must be auto or activations for a quantized model \(nf4\), got weights"):
        prepared(with_runtime(backend="weights"), base)
