"""Trials on weights or on activations, one or several at once, measure the same as an edited release."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import pytest
import torch

from tests.support.architectures import written_by
from tests.support.samples import sample_direction, sample_edit, sample_trial
from tests.support.tiny import VOCABULARY, random_direction
from tests.support.zoo import zoo_model
from unwrite.core.markers import shows_behaviour
from unwrite.editing.blocks import blocks_in_memory
from unwrite.editing.edit_cache import EditCache
from unwrite.editing.exact import edited_parameters, parameter_names
from unwrite.errors import UnwriteError
from unwrite.evaluation.behaviour import behaviour_verdicts, decode
from unwrite.evaluation.divergence import measure_kl, teacher_force, teacher_forced_batches
from unwrite.models.batches import Budget
from unwrite.models.generation import generate_greedily
from unwrite.models.memory import Limits
from unwrite.models.patching import patched_parameters
from unwrite.models.placement import parameters_of
from unwrite.schema.artifacts import Edit
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.backends import choose_backend, measure_trials, on_activations, on_weights
from unwrite.search.context import EvaluationContext
from unwrite.search.racing import Standard, can_be_chosen
from unwrite.search.trials import Measured
from unwrite.terms import BackendName, NormPreservation

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
DIRECTIONS = torch.stack([random_direction(32, seed) for seed in range(4)]).unsqueeze(0)
LIMITS = Limits(generation=60, one_pass=60, logits=1 << 25)
MEANS = torch.stack([random_direction(32, seed) for seed in range(10, 14)]).unsqueeze(0)
TARGET = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30, 31], [33, 44], [7, 8, 9, 10], [50]]
BASELINE = [[13, 14, 15], [16, 17, 18, 19, 20, 21], [25], [26, 27, 28]]
TOKENS = 4


def words() -> PreTrainedTokenizerFast:
    """A tokenizer in which every token is a word: token 7 is "w07."."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"w{number:02}.": number for number in range(VOCABULARY)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="w00.")))


@functools.cache
def base_model(name: str) -> PreTrainedModel:
    return zoo_model(name, torch.float32)


def context_of(name: str, mode: NormPreservation, **changes: Any) -> EvaluationContext:
    model, tokenizer = base_model(name), words()
    writers = written_by(name, model)
    originals = parameters_of(model, parameter_names(writers))
    base_responses = generate_greedily(model, TARGET, 6, batches=[[row] for row in range(len(TARGET))])
    # The markers are the first words of four of the seven responses.
    markers = sorted({decode(tokenizer, [response[:1]])[0] for response in base_responses[:4]})
    batches = teacher_forced_batches(
        BASELINE, TOKENS, VOCABULARY, LIMITS._replace(one_pass=1000), padding_sensitive=False
    )
    responses = generate_greedily(model, BASELINE, TOKENS, batches=batches)
    made = EvaluationContext(
        model=model,
        tokenizer=tokenizer,
        writers=writers,
        cache=EditCache(partial(blocks_in_memory, originals), originals, mode, DIRECTIONS, MEANS),
        target=TARGET,
        base_rate=4 / 7,
        teacher_forced=teacher_force(model, BASELINE, responses, TOKENS, batches=batches),
        markers=markers,
        max_tokens=6,
        max_kl=None,
        vocabulary=VOCABULARY,
        padding_sensitive=False,
        limits=LIMITS,
        budget=Budget(),
    )
    return made._replace(**changes)


def recipes(of: EvaluationContext) -> list[list[Edit]]:
    """Return six trials: strong, weak, on some writers only, on none, biprojected, strong again."""

    def recipe(strength: float, index: float, orthogonalize_to: int | None = None) -> list[Edit]:
        return [
            sample_edit(
                writer,
                strength * (0.9 if writer.component == "mlp" else 1),
                sample_direction(index, orthogonalize_to=orthogonalize_to),
            )
            for writer in of.writers
        ]

    return [
        recipe(1.0, 2.0),
        recipe(0.3, 1.4),
        [edit for edit in recipe(1.2, 2.7) if edit.component == "attention"],
        [],
        recipe(1.4, 1.5, 3),
        recipe(0.8, 0.5),
    ]


def assert_same(actual: Sequence[Measured | UnwriteError], expected: Sequence[Measured | UnwriteError]) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert isinstance(one, Measured)
        assert isinstance(other, Measured)
        assert one.behaviour_rate == other.behaviour_rate
        assert one.kl == pytest.approx(other.kl, rel=1.1e-3, abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "mixtral"])
def test_every_backend_and_number_at_once_measures_the_same(name: str, mode: NormPreservation) -> None:
    of = context_of(name, mode)
    trials = recipes(of)
    expected = on_weights(of, trials)
    measured = [result for result in expected if isinstance(result, Measured)]
    assert len({result.kl for result in measured}) == len(trials)
    assert len({result.behaviour_rate for result in measured}) > 1
    for at_once in (1, 3, 5):
        assert_same(on_activations(of, trials, at_once), expected)
    together = of._replace(limits=Limits(10_000, 10_000, 1 << 25))
    assert_same(on_activations(together, trials, 6), expected)
    assert_same(on_weights(together, trials), expected)


@pytest.mark.parametrize("mode", MODES)
def test_trials_measure_what_the_release_would(mode: NormPreservation) -> None:
    of = context_of("gpt2", mode)
    model, tokenizer = of.model, of.tokenizer
    for edits, actual in zip(recipes(of), on_weights(of, recipes(of)), strict=True):
        values = edited_parameters(edits, of.cache.parameters, mode, DIRECTIONS, MEANS)
        with patched_parameters(model, values):
            divergences = measure_kl(model, of.teacher_forced)
            edited_responses = generate_greedily(model, TARGET, 6, batches=[[row] for row in range(len(TARGET))])
        rate = sum(shows_behaviour(text, of.markers) for text in decode(tokenizer, edited_responses)) / len(TARGET)
        assert_same([actual], [Measured(rate, sum(divergences.response) / len(BASELINE))])
    nothing = on_weights(of, [[]])[0]
    assert isinstance(nothing, Measured)
    assert nothing.kl == 0
    assert nothing.behaviour_rate is not None
    assert nothing.behaviour_rate >= 4 / 7


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_response_is_generated_above_max_kl(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    of = context_of("llama", "rows")
    trials = recipes(of)
    expected = [result for result in on_weights(of, trials) if isinstance(result, Measured)]
    bound = sorted(result.kl for result in expected)[2]
    generated: list[int] = []

    def counted(model: Any, tokenizer: Any, prompts: Sequence[Any], *rest: Any, **named: Any) -> list[bool | None]:
        generated.append(len(prompts))
        return behaviour_verdicts(model, tokenizer, prompts, *rest, **named)

    monkeypatch.setattr("unwrite.search.backends.behaviour_verdicts", counted)
    bounded = of._replace(max_kl=bound)
    for measure in (on_weights, partial(on_activations, at_once=at_once)):
        results = measure(bounded, trials)
        assert sum(generated) == 3 * len(TARGET)
        generated.clear()
        for one, other in zip(results, expected, strict=True):
            assert isinstance(one, Measured)
            assert one.kl == pytest.approx(other.kl, rel=1.1e-3, abs=1e-6)
            assert (one.behaviour_rate is None) == (other.kl > bound)


@pytest.mark.parametrize("backend", [on_weights, partial(on_activations, at_once=6)])
def test_only_the_trial_that_fails_gives_an_error(backend: Any) -> None:
    of = context_of("llama", "none")
    trials = recipes(of)
    expected = on_weights(of, trials)
    broken = [edit.model_copy(update={"strength": 1e39}) for edit in trials[1]]
    actual = backend(of, [trials[0], broken, *trials[2:]])
    assert isinstance(actual[1], UnwriteError)
    assert "Layer 0 outputs NaN or infinity" in str(actual[1])
    assert_same([actual[0], *actual[2:]], [expected[0], *expected[2:]])


@pytest.mark.parametrize(("weights", "activations", "chosen"), [(1.0, 0.4, "activations"), (1.0, 0.6, "weights")])
def test_the_faster_backend_is_chosen_with_its_timing(
    weights: float, activations: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = context_of("llama", "rows")
    pretend_to_be_on_an_accelerator(monkeypatch)
    clock = iter([0.0, 6 * weights, 6 * weights, 6 * (weights + activations)])
    monkeypatch.setattr("unwrite.search.backends.time.perf_counter", lambda: next(clock))
    assert choose_backend(of, recipes(of), 4) == (
        chosen,
        f"weights: 1 s per trial; activations, 4 at once: {activations:.2g} s",
    )


def test_trials_measured_for_the_choice_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    of = context_of("llama", "rows", advance=counted.append, end_trial=lambda: counted.append(-1))
    pretend_to_be_on_an_accelerator(monkeypatch)
    choose_backend(of, recipes(of), 4)
    assert counted == []
    on_weights(of, recipes(of))  # the control
    assert counted.count(-1) == 6


def test_weights_are_chosen_if_activations_cannot_express_the_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    of = context_of("mixtral", "rows")
    pretend_to_be_on_an_accelerator(monkeypatch)
    backend, reason = choose_backend(of, recipes(of), 6)
    assert backend == "weights"
    assert "does more than multiply by model.layers.0.mlp.experts.down_proj" in reason
    of = context_of("mixtral", "none")
    assert "at once" in choose_backend(of, recipes(of), 6).reason


def test_weights_are_chosen_if_activations_give_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    of = context_of("llama", "rows")
    pretend_to_be_on_an_accelerator(monkeypatch)

    @contextmanager
    def forgetful(*_: object) -> Iterator[Any]:
        yield lambda _: None

    monkeypatch.setattr("unwrite.search.backends.edited_activations", forgetful)
    backend, reason = choose_backend(of, recipes(of), 6)
    assert (backend, reason[:46]) == ("weights", "activations give another result: KL divergence")


def test_weights_are_chosen_on_a_cpu_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    of = context_of("llama", "rows")
    monkeypatch.setattr("unwrite.search.backends.on_weights", None)
    assert choose_backend(of, recipes(of), 6) == ("weights", "the model is on a CPU")


def pretend_to_be_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unwrite.search.backends._is_on_cpu", lambda _model: False)


@pytest.mark.parametrize("generation", [60, 10_000])
def test_racing_stops_only_trials_that_cannot_be_chosen(generation: int) -> None:
    of = context_of("llama", "rows", settled_tokens=1, limits=LIMITS._replace(generation=generation))
    trials = recipes(of)
    full = [result for result in on_weights(of, trials) if isinstance(result, Measured)]
    assert not any(result.is_bound for result in full)
    for highest in (0.0, 0.3, 0.6):
        for best in full:
            rate = best.behaviour_rate
            assert rate is not None
            standard = Standard(sample_trial(behaviour_rate=rate, kl=best.kl), highest)
            racing = of._replace(standard=standard)
            for results in (on_weights(racing, trials), on_activations(racing, trials, 3)):
                for actual, expected in zip(results, full, strict=True):
                    assert isinstance(actual, Measured)
                    assert actual.behaviour_rate is not None
                    assert expected.behaviour_rate is not None
                    assert actual.kl == pytest.approx(expected.kl, rel=1.1e-3, abs=1e-6)
                    if actual.is_bound:
                        assert actual.behaviour_rate <= expected.behaviour_rate
                        assert not can_be_chosen(standard, expected.kl, expected.behaviour_rate)
                    else:
                        assert actual.behaviour_rate == expected.behaviour_rate


def test_racing_saves_passes() -> None:
    of = context_of("llama", "rows", settled_tokens=1)
    strict = of._replace(standard=Standard(sample_trial(behaviour_rate=0.0, kl=0.0), 0.0))
    passes: list[int] = []
    with of.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1)):
        on_weights(of, recipes(of))
        full = len(passes)
        results = on_weights(strict, recipes(of))
    assert all(isinstance(result, Measured) and result.is_bound for result in results)
    assert len(passes) - full < 0.7 * full


@pytest.mark.parametrize("backend", [on_weights, partial(on_activations, at_once=3)])
def test_a_shared_prefix_changes_no_measurement(backend: Any) -> None:
    of = context_of("llama", "rows")
    head = [60, 61, 62, 63, 64]
    responses = generate_greedily(of.model, [[*head, *prompt] for prompt in BASELINE], TOKENS)
    longer = of._replace(
        target=[[*head, *prompt] for prompt in TARGET],
        teacher_forced=teacher_force(of.model, [[*head, *prompt] for prompt in BASELINE], responses, TOKENS),
        limits=Limits(1000, 1000, 1 << 25),
    )
    expected = backend(longer, recipes(of))
    assert_same(backend(longer._replace(prefix=head), recipes(of)), expected)


def test_measuring_leaves_no_change_behind() -> None:
    of = context_of("llama", "columns")
    before = {name: parameter.clone() for name, parameter in of.model.named_parameters()}
    on_weights(of, recipes(of))
    on_activations(of, recipes(of), 2)
    after = dict(of.model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in of.model.modules())


@pytest.mark.parametrize(("backend", "at_once"), [("weights", 3), ("activations", 3)])
def test_the_chosen_backend_measures(backend: BackendName, at_once: int) -> None:
    of = context_of("llama", "rows")
    choice = BackendChoice(backend=backend, trials_at_once=at_once, limits=of.limits)
    expected = on_weights(of, recipes(of)) if backend == "weights" else on_activations(of, recipes(of), at_once)
    assert measure_trials(of, recipes(of), choice) == expected
