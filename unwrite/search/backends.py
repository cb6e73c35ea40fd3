"""Trials measured on weights, one at a time, or on activations, K in one forward pass; and which of the two is faster.

On activations the prompts come K times, and row r of them belongs to trial r // n. Both measure the same, to the
rounding of the dtype that the model computes in: in 16 bits a verdict at the edge can flip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from unwrite.editing.activations import RowSelector, edited_activations
from unwrite.editing.edit_cache import EditCache
from unwrite.editing.weights import edited_weights
from unwrite.editing.weights_needed import why_recipe_needs_weights
from unwrite.errors import UnwriteError
from unwrite.evaluation.behaviour import behaviour_verdicts
from unwrite.evaluation.divergence import TeacherForced, measure_kl, teacher_forced_batches
from unwrite.models.batches import Budget, by_token_budget, do_nothing
from unwrite.models.memory import Limits
from unwrite.models.patching import patched_parameters
from unwrite.schema.artifacts import Edit, Writer
from unwrite.search.trials import Measured
from unwrite.terms import BackendName

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Edits = Sequence[Edit]
Result = Measured | UnwriteError

_WORTH_IT = 0.5  # of the time of weights: the two round differently, so noise in a timing must not choose
_ALIKE = 0.2  # of a divergence: far above the rounding of bfloat16, far below what another edit makes of it
_DIGITS, _DECIMALS = 4, 6  # kept of a figure: float32 differs beyond that between realizations and batches


class EvaluationContext(NamedTuple):
    """What the measurements of all trials have in common.

    teacher_forced: The baseline prompts with the base model's responses.
    max_kl: The divergence from which on nothing is generated, if any.
    limits: What batches are made for.
    budget: What there is memory for.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    writers: Sequence[Writer]
    form: EditCache
    target: Sequence[Sequence[int]]
    teacher_forced: TeacherForced
    markers: Sequence[str]
    max_tokens: int
    max_kl: float | None
    vocabulary: int
    padding_sensitive: bool
    limits: Limits
    budget: Budget


def on_weights(scene: EvaluationContext, trials: Sequence[Edits]) -> list[Result]:
    """Measures one trial after the other, its weights exchanged; an error is the result of a trial that fails."""
    return [_or_error(_on_weights, scene, edits) for edits in trials]


def on_activations(scene: EvaluationContext, trials: Sequence[Edits], at_once: int) -> list[Result]:
    """Measures `at_once` trials together, no weights exchanged; by itself what has to be edited on weights.

    Trials of which one fails are measured again one by one, so that it fails alone.
    """
    results: dict[int, Result] = {}
    together = []
    for number, edits in enumerate(trials):
        if why_recipe_needs_weights(scene.model, edits, scene.writers, scene.form.norm_preservation) is None:
            together.append(number)
        else:
            results[number] = _or_error(_alone, scene, edits)
    for first in range(0, len(together), at_once):
        numbers = together[first : first + at_once]
        results |= zip(numbers, _together(scene, [trials[number] for number in numbers]), strict=True)
    return [results[number] for number in range(len(trials))]


def choose_backend(
    scene: EvaluationContext, trials: Sequence[Edits], at_once: int
) -> tuple[BackendName, str, list[Result]]:
    """Measures trials both ways, if there are two.

    Returns:
        Which way to go on with, a line that says why, and the results that it gave.
    """
    reasons = (
        why_recipe_needs_weights(scene.model, edits, scene.writers, scene.form.norm_preservation) for edits in trials
    )
    if reason := next((reason for reason in reasons if reason is not None), None):
        return "weights", f"weights: {reason}", on_weights(scene, trials)
    on_weights(scene, trials[:1])  # the first pass of all is slower, whatever it is of
    start = time.perf_counter()
    by_weights = on_weights(scene, trials)
    between = time.perf_counter()
    by_activations = on_activations(scene, trials, at_once)
    end = time.perf_counter()
    weights, activations = ((after - before) / len(trials) for before, after in ((start, between), (between, end)))
    together = f"{min(at_once, len(trials))} at once"
    figures = f"weights, {weights:.2g} s a trial; activations, {together}, {activations:.2g} s"
    if (unlike := _unlike(by_weights, by_activations)) is not None:
        return "weights", f"weights, as activations measure something else ({unlike})", by_weights
    if activations < _WORTH_IT * weights:
        return "activations", f"activations ({figures})", by_activations
    return "weights", f"weights ({figures})", by_weights


def _or_error(
    measure: Callable[[EvaluationContext, Edits], Measured], scene: EvaluationContext, edits: Edits
) -> Result:
    try:
        return measure(scene, edits)
    except UnwriteError as error:
        return error


def _on_weights(scene: EvaluationContext, edits: Edits) -> Measured:
    with patched_parameters(scene.model, edited_weights(edits, scene.form)):
        return _measure(scene, 1, do_nothing)[0]


def _alone(scene: EvaluationContext, edits: Edits) -> Measured:
    with edited_activations(scene.model, [edits], scene.writers, scene.form) as select:
        return _measure(scene, 1, select)[0]


def _together(scene: EvaluationContext, trials: Sequence[Edits]) -> Sequence[Result]:
    try:
        with edited_activations(scene.model, trials, scene.writers, scene.form) as select:
            return _measure(scene, len(trials), select)
    except UnwriteError as error:
        return [error] if len(trials) == 1 else [_or_error(_alone, scene, edits) for edits in trials]


def _measure(scene: EvaluationContext, count: int, select: RowSelector) -> list[Measured]:
    """Measures the trials that the model is edited for: the divergence first, the rate where that is not hopeless."""
    baseline = len(scene.teacher_forced.prompts)
    divergences = measure_kl(
        scene.model,
        scene.teacher_forced,
        teacher_forced_batches(
            [*scene.teacher_forced.prompts] * count,
            scene.teacher_forced.tokens,
            scene.vocabulary,
            scene.limits,
            padding_sensitive=scene.padding_sensitive,
        ),
        before_pass=lambda rows: select([row // baseline for row in rows]),
        budget=scene.budget,
    )
    response = [
        _rounded(fmean(divergences.response[trial * baseline : (trial + 1) * baseline])) for trial in range(count)
    ]
    hopeful = [trial for trial in range(count) if scene.max_kl is None or response[trial] <= scene.max_kl]
    rates = dict(zip(hopeful, _rates(scene, hopeful, select), strict=True)) if hopeful else {}
    return [Measured(rates.get(trial), response[trial]) for trial in range(count)]


def _rates(scene: EvaluationContext, trials: Sequence[int], select: RowSelector) -> list[float]:
    """The behaviour rate of each of these trials."""
    n = len(scene.target)
    prompts = [*scene.target] * len(trials)
    lengths = [len(prompt) + scene.max_tokens for prompt in prompts]
    verdicts = behaviour_verdicts(
        scene.model,
        scene.tokenizer,
        prompts,
        by_token_budget(lengths, scene.limits.generation, padding_sensitive=scene.padding_sensitive),
        max_tokens=scene.max_tokens,
        markers=scene.markers,
        before_pass=lambda rows: select([trials[row // n] for row in rows]),
        budget=scene.budget,
    )
    return [sum(verdicts[start : start + n]) / n for start in range(0, len(prompts), n)]


def _rounded(value: float) -> float:
    return round(float(f"{value:.{_DIGITS}g}"), _DECIMALS)


def _unlike(weights: Sequence[Result], activations: Sequence[Result]) -> str | None:
    """Two divergences of one trial that aren't the same, in words."""
    for one, other in zip(weights, activations, strict=True):
        if isinstance(one, UnwriteError) != isinstance(other, UnwriteError):
            return str(one if isinstance(one, UnwriteError) else other)
        if isinstance(one, UnwriteError) or isinstance(other, UnwriteError):
            continue
        if abs(one.kl - other.kl) > _ALIKE * max(one.kl, other.kl) + 1e-3:
            return f"divergence {other.kl:.4g}, on weights {one.kl:.4g}"
    return None
