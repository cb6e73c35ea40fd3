"""Search for recipes that remove the behaviour and move little else, on the validation prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from unwrite.artifacts import Base, Front, TrialParameters, as_json
from unwrite.errors import UnwriteError
from unwrite.files.prompts import read_markers
from unwrite.files.records import write_json
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.measure import behaviour_rate, force_responses, forced_batches, measure_divergence
from unwrite.models.apply import parameters_of, replaced_parameters
from unwrite.models.batches import by_token_budget
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model, load_tokenizer, pick_device
from unwrite.params import Params
from unwrite.paths import DIRECTIONS, FRONT
from unwrite.pinned import pinned_folder, read_base
from unwrite.progress import progress
from unwrite.recipe import build_edits, edited_parameters, parameter_names
from unwrite.search.study import pareto_front, run_study
from unwrite.stage import run_stage, say
from unwrite.tokens import read_tokens
from unwrite.trials import Outcome, write_trials
from unwrite.words import nats, percent


def optimize_weights(params: Params) -> None:
    """Writes artifacts/trials.csv (every trial) and artifacts/front.json (those that no other beats)."""
    settings = params.optimize
    base = read_base()
    for layer in (layer for span in settings.space.spans for layer in span):
        if layer >= base.layers:
            raise UnwriteError(f"optimize.space.spans names layer {layer}; the model's layers are 0–{base.layers - 1}.")
    orthogonalize = read_metadata(DIRECTIONS, "compute_directions")["orthogonalize"]
    evaluate, base_rate, positions = _prepare(params, base, biprojected=orthogonalize == "biprojected")
    say(f"Base model: behaviour rate {percent(base_rate)} on the validation prompts.")
    outcomes: list[Outcome] = []
    with progress("trials", settings.trials, params.runtime.progress) as advance:
        for outcome in run_study(
            evaluate,
            settings.space,
            trials=settings.trials,
            random_trials=settings.random_trials,
            batch=settings.batch,
            seed=settings.seed,
            layers=base.layers,
            positions=positions,
        ):
            outcomes.append(outcome)
            advance(1, _best_so_far(outcomes))
    write_trials(outcomes)
    failed = [outcome.reason for outcome in outcomes if outcome.objectives is None]
    if failed:
        reason, count = Counter(failed).most_common(1)[0]
        message = f"{len(failed)} of {len(outcomes)} trials failed, {count} of them so: {reason}"
        if len(failed) == len(outcomes):
            raise UnwriteError(message)
        say(f"warning: {message}")
    front = pareto_front(outcomes)
    record = Front(
        norm_preservation=settings.norm_preservation,
        edit_bias=settings.edit_bias,
        post_norm=settings.post_norm,
        orthogonalize=orthogonalize,
        spans=list(settings.space.spans),
        kl_tokens=settings.kl_tokens,
        base_behaviour_rate=base_rate,
        trials=front,
    )
    write_json(FRONT, as_json(record))


def _prepare(
    params: Params, base: Base, *, biprojected: bool
) -> tuple[Callable[[TrialParameters], tuple[float, float]], float, int]:
    """What measures a trial, the base model's behaviour rate, and how many positions have directions."""
    settings = params.optimize
    markers = read_markers(Path(params.judge.markers))
    target, baseline = ([row.tokens for row in read_tokens(name, "validation")] for name in ("target", "baseline"))
    tensors = read_tensors(DIRECTIONS, "compute_directions")
    folder = pinned_folder(base)
    model = load_model(folder, base.compute_dtype, pick_device(params.runtime.device))
    tokenizer = load_tokenizer(folder)
    budget = params.runtime.batch_tokens
    equal_lengths = base.equal_lengths
    lengths = [len(tokens) + settings.max_tokens for tokens in target]
    target_batches = by_token_budget(lengths, budget, equal_lengths=equal_lengths)
    baseline_batches = forced_batches(
        baseline, settings.kl_tokens, base.vocabulary, budget, equal_lengths=equal_lengths
    )

    def rate() -> float:
        return behaviour_rate(model, tokenizer, target, target_batches, max_tokens=settings.max_tokens, markers=markers)

    base_rate = rate()
    if base_rate == 0:
        raise UnwriteError(
            f"None of the {len(target)} target validation prompts shows the behaviour in the base model: there is "
            f"nothing to remove. Check the target prompts and the markers in {params.judge.markers}."
        )
    with progress("base responses to baseline prompts", len(baseline), params.runtime.progress) as advance:
        responses = generate_greedily(model, baseline, baseline_batches, settings.kl_tokens, advance)
    forced = force_responses(model, baseline, responses, baseline_batches, settings.kl_tokens)
    originals = parameters_of(model, parameter_names(base.writers))

    def evaluate(parameters: TrialParameters) -> tuple[float, float]:
        edits = build_edits(
            parameters,
            base.writers,
            spans=settings.space.spans,
            biprojected=biprojected,
            edit_bias=settings.edit_bias,
            post_norm=settings.post_norm,
        )
        values = edited_parameters(
            edits, originals, settings.norm_preservation, tensors["directions"], tensors["baseline_mean"]
        )
        with replaced_parameters(model, values):
            divergence = fmean(measure_divergence(model, forced).response)
            return rate(), divergence

    return evaluate, base_rate, len(tensors["directions"])


def _best_so_far(outcomes: list[Outcome]) -> str:
    measured = [outcome.objectives for outcome in outcomes if outcome.objectives is not None]
    if not measured:
        return "every trial has failed so far"
    rate, divergence = min(measured)
    return f"lowest rate {percent(rate)}, at divergence {nats(divergence)}"


if __name__ == "__main__":
    run_stage(optimize_weights)
