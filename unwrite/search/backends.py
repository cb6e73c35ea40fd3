"""Measure trials on weights, one at a time, or on activations, K per forward pass; and choose the faster backend.

On activations every prompt is repeated K times: row r belongs to trial r // n. Both backends measure the same up to the
rounding of the model's dtype, so in 16 bits a borderline verdict can flip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from unwrite.editing.activations import RowSelector, edited_activations
from unwrite.editing.weights import edited_weights
from unwrite.errors import UnwriteError
from unwrite.evaluation.behaviour import behaviour_verdicts
from unwrite.evaluation.divergence import measure_kl, teacher_forced_batches
from unwrite.models.batches import by_token_budget, do_nothing
from unwrite.models.lower_layers import LowerLayers
from unwrite.models.patching import patched_parameters
from unwrite.models.placement import input_device
from unwrite.models.shared_work import SharedWork
from unwrite.search.backend_choice import BackendChoice, ChosenBackend
from unwrite.search.context import EvaluationContext, do_not_count
from unwrite.search.grouping import Edits, together_on_activations, why_weights
from unwrite.search.racing import Race
from unwrite.search.trials import Measured

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Result = Measured | UnwriteError

_MAX_TIME_SHARE = 0.5  # of the time on weights; the backends round differently, so timing noise must not decide
_KL_TOLERANCE = 0.2  # relative; far above the rounding of bfloat16, far below the effect of another edit
_TOKENS_TO_CHOOSE = 8  # response tokens of each prompt that the backends are timed on
_DIGITS, _DECIMALS = 4, 6  # of a figure; further ones differ between backends and batches in float32


def measure_trials(context: EvaluationContext, trials: Sequence[Edits], choice: BackendChoice) -> list[Result]:
    """Measure trials with the chosen backend."""
    if choice.backend == "weights":
        return on_weights(context, trials)
    return on_activations(context, trials, choice.trials_at_once)


def on_weights(context: EvaluationContext, trials: Sequence[Edits]) -> list[Result]:
    """Measure one trial after the other with its weights exchanged; a trial that fails gives its error."""
    return [_result_or_error(_one_on_weights, context, edits) for edits in trials]


def on_activations(context: EvaluationContext, trials: Sequence[Edits], at_once: int) -> list[Result]:
    """Measure `at_once` trials per forward pass without exchanging weights.

    A trial that must be edited on weights is alone. If one of several fails, each of them is measured again, alone.
    """
    results: dict[int, Result] = {}
    for numbers in together_on_activations(context, trials, at_once):
        results |= zip(numbers, _several_on_activations(context, [trials[number] for number in numbers]), strict=True)
    return [results[number] for number in range(len(trials))]


def choose_backend(context: EvaluationContext, trials: Sequence[Edits], at_once: int) -> ChosenBackend:
    """Choose the backend: on a CPU weights, elsewhere by measuring trials with both, on the first response tokens.

    Activations are chosen if they are at least twice as fast and give the same result. A CPU is as busy with one trial
    as with several, and editing activations only adds to its work.

    Args:
        context: the context that all measurements share.
        trials: the edits of each trial, at least one trial.
        at_once: trials per forward pass on activations.
    """
    if _is_on_cpu(context.model):
        return ChosenBackend("weights", "the model is on a CPU")
    reasons = [reason for edits in trials if (reason := why_weights(context, edits)) is not None]
    if reasons:
        return ChosenBackend("weights", reasons[0])
    tokens = min(context.max_tokens, _TOKENS_TO_CHOOSE)
    context = context._replace(max_tokens=tokens, advance=do_nothing, end_trial=do_not_count)
    on_weights(context, trials[:1])  # a warm-up, because the very first pass is slower
    by_weights, weights = _timed(partial(on_weights, context), trials)
    by_activations, activations = _timed(partial(on_activations, context, at_once=at_once), trials)
    difference = _difference(by_weights, by_activations)
    if difference is not None:
        return ChosenBackend("weights", f"activations give another result: {difference}")
    timing = (
        f"weights: {weights:.2g} s per trial; activations, {min(at_once, len(trials))} at once: {activations:.2g} s"
    )
    return ChosenBackend("activations" if activations < _MAX_TIME_SHARE * weights else "weights", timing)


def _is_on_cpu(model: PreTrainedModel) -> bool:
    return input_device(model).type == "cpu"


def _timed(measure: Callable[[Sequence[Edits]], list[Result]], trials: Sequence[Edits]) -> tuple[list[Result], float]:
    """Return the results and the seconds per trial."""
    start = time.perf_counter()
    results = measure(trials)
    return results, (time.perf_counter() - start) / len(trials)


def _difference(by_weights: Sequence[Result], by_activations: Sequence[Result]) -> str | None:
    """Describe the first trial that the backends measure differently; None if they agree on all."""
    for weights, activations in zip(by_weights, by_activations, strict=True):
        if isinstance(weights, UnwriteError) and isinstance(activations, UnwriteError):
            continue
        if isinstance(weights, UnwriteError):
            return str(weights)
        if isinstance(activations, UnwriteError):
            return str(activations)
        if abs(weights.kl - activations.kl) > _KL_TOLERANCE * max(weights.kl, activations.kl) + 1e-3:
            return f"KL divergence {activations.kl:.4g}, on weights {weights.kl:.4g}"
    return None


def _result_or_error(
    measure: Callable[[EvaluationContext, Edits], Measured], context: EvaluationContext, edits: Edits
) -> Result:
    try:
        return measure(context, edits)
    except UnwriteError as error:
        return error
    finally:
        context.end_trial()


def _one_on_weights(context: EvaluationContext, edits: Edits) -> Measured:
    with patched_parameters(context.model, edited_weights(edits, context.cache)):
        return _measure(context, [edits], do_nothing)[0]


def _one_on_activations(context: EvaluationContext, edits: Edits) -> Measured:
    with edited_activations(context.model, [edits], context.writers, context.cache) as select:
        return _measure(context, [edits], select)[0]


def _several_on_activations(context: EvaluationContext, trials: Sequence[Edits]) -> Sequence[Result]:
    if len(trials) > 1:
        with (
            suppress(UnwriteError),
            edited_activations(context.model, trials, context.writers, context.cache) as select,
        ):
            results = _measure(context, trials, select)
            for _ in trials:
                context.end_trial()
            return results
    return [_result_or_error(_one_on_activations, context, edits) for edits in trials]


def _measure(context: EvaluationContext, trials: Sequence[Edits], select: RowSelector) -> list[Measured]:
    """Measure the trials that the model is edited for: KL first, then the rate of those within `max_kl`."""
    count, first_layer = len(trials), _first_edited_layer(context, trials)
    kl = _kl_of_trials(context, count, select, first_layer)
    within = [trial for trial in range(count) if context.max_kl is None or kl[trial] <= context.max_kl]
    measured = {trial: Measured(None, kl[trial]) for trial in range(count)}
    if within:
        verdicts = _verdicts(context, [kl[trial] for trial in within], within, select, first_layer)
        measured |= {
            trial: Measured(sum(map(bool, shown)) / len(shown), kl[trial], None in shown)
            for trial, shown in zip(within, verdicts, strict=True)
        }
    return list(measured.values())


def _kl_of_trials(context: EvaluationContext, count: int, select: RowSelector, first_layer: int) -> list[float]:
    """Return the mean KL divergence over the baseline prompts of each trial."""
    prompts = context.teacher_forced.prompts
    n = len(prompts)
    batches = teacher_forced_batches(
        [*prompts] * count,
        context.teacher_forced.tokens,
        context.vocabulary,
        context.limits,
        padding_sensitive=context.padding_sensitive,
    )
    per_row = measure_kl(
        context.model,
        context.teacher_forced,
        batches,
        shared=_shared(context, context.forced_layers, n, first_layer),
        before_pass=lambda rows: select([row // n for row in rows]),
        advance=context.advance,
        budget=context.budget,
    ).response
    return [_rounded(fmean(per_row[start : start + n])) for start in range(0, count * n, n)]


def _verdicts(
    context: EvaluationContext,
    divergences: Sequence[float],
    trials: Sequence[int],
    select: RowSelector,
    first_layer: int,
) -> list[list[bool | None]]:
    """Return the verdict on each target prompt for each of these trials; None once a trial is out of the race."""
    n = len(context.target)
    prompts = [*context.target] * len(trials)
    lengths = [len(prompt) + context.max_tokens for prompt in prompts]
    verdicts = behaviour_verdicts(
        context.model,
        context.tokenizer,
        prompts,
        by_token_budget(lengths, context.limits.generation, padding_sensitive=context.padding_sensitive),
        max_tokens=context.max_tokens,
        markers=context.markers,
        shared=_shared(context, context.target_layers, n, first_layer),
        given_up=Race(context.standard, divergences, n, context.settled_tokens).given_up,
        before_pass=lambda rows: select([trials[row // n] for row in rows]),
        advance=context.advance,
        budget=context.budget,
    )
    return [verdicts[start : start + n] for start in range(0, len(prompts), n)]


def _shared(context: EvaluationContext, layers: LowerLayers | None, n: int, first_layer: int) -> SharedWork:
    """Return the work that the passes of trials share with the base model's, and with each other."""
    shared = SharedWork(context.prefix, lambda row: row // n)
    return shared if layers is None else shared._replace(around=partial(layers.resuming, layer=first_layer))


def _first_edited_layer(context: EvaluationContext, trials: Sequence[Edits]) -> int:
    """Return the lowest layer that a trial edits; 0 if none edits any."""
    edited = {edit.matrix.parameter for edits in trials for edit in edits}
    writers = (writer for writer in context.writers if writer.matrix.parameter in edited)
    return min((layer for writer in writers for layer in (writer.layer, *writer.shared_layers)), default=0)


def _rounded(value: float) -> float:
    return round(float(f"{value:.{_DIGITS}g}"), _DECIMALS)
