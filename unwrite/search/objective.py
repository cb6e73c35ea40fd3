"""What the search minimizes: a list of recipes, measured on the validation prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unwrite.core.markers import markers_in_all, shows_behaviour
from unwrite.editing.edit_cache import ClosedForm, blocks_of_model, prepare_products, vectors_of_search
from unwrite.editing.recipe import build_edits, parameter_names
from unwrite.errors import UnwriteError
from unwrite.evaluation.measure import decode, force_responses, forced_batches, measuring_limits
from unwrite.files.prompts import read_markers
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.models.batches import Budget, by_token_budget
from unwrite.models.generation import do_nothing, generate_greedily
from unwrite.models.loading import load_model, load_tokenizer, pick_device
from unwrite.models.memory import Limits
from unwrite.models.patching import parameters_of
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import say
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import Base, Edit, TrialParameters
from unwrite.schema.params import Params, Realization
from unwrite.schema.paths import DIRECTIONS
from unwrite.search.backends import Chosen, Result, Scene, faster, on_activations, on_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Choice = tuple[Chosen, int]


class Objective(NamedTuple):
    """What measures a list of trials; the base model's behaviour rate; how many prompt positions have directions."""

    evaluate: Callable[[Sequence[TrialParameters]], list[Result]]
    base_rate: float
    positions: int


def prepare_objective(
    params: Params, base: Base, *, chosen: str | None = None, choose: Callable[[str], object] = do_nothing
) -> Objective:
    """Loads the model and measures all that trials have in common.

    Args:
        params: All sections.
        base: The pinned model.
        chosen: What `choose` was called with in an earlier part of the same search. It counts, unless `runtime` says
            otherwise: trials measured in another way, or in other batches, are rounded in another way, and lead to
            other trials.
        choose: Called when it is known how trials are measured, as late as after the first list of them.

    Raises:
        UnwriteError: No target prompt shows the behaviour; or `runtime.realization` can't be had.
    """
    settings = params.optimize
    earlier, limits = _read(chosen or "")
    choice = _choice(params, base, earlier)
    metadata = read_metadata(DIRECTIONS, "compute_directions")
    biprojected = metadata["orthogonalize"] == "biprojected"
    scene, base_rate, positions = _scene(params, base, limits, biprojected=biprojected)

    def edits_of(trial: TrialParameters) -> list[Edit]:
        return build_edits(
            trial,
            base.writers,
            spans=settings.space.spans,
            biprojected=biprojected,
            edit_bias=settings.edit_bias,
            post_norm=settings.post_norm,
        )

    def evaluate(trials: Sequence[TrialParameters]) -> list[Result]:
        nonlocal choice
        recipes = [edits_of(trial) for trial in trials]
        if choice is None:
            at_once = params.runtime.trials_at_once or len(trials)
            realization, why, results = faster(scene, recipes, at_once)
            choice = (realization, at_once)
            say(f"Trials are measured on {why}.")
            choose(_written(choice, scene.limits))
            return results
        realization, at_once = choice
        if realization == "weights":
            return on_weights(scene, recipes)
        return on_activations(scene, recipes, at_once)

    if choice is not None:
        choose(_written(choice, scene.limits))
    return Objective(evaluate, base_rate, positions)


def _choice(params: Params, base: Base, earlier: Choice | None) -> Choice | None:
    """How trials are measured, where that is settled: by `runtime`, by the model, or by what was chosen before."""
    runtime = params.runtime
    at_once = runtime.trials_at_once or params.optimize.batch
    realization: Realization = runtime.realization
    if base.quantization != "none":
        if realization == "weights":
            raise UnwriteError(
                f"runtime.realization is weights, but the model is quantized ({base.quantization}) and has no weights "
                "that could be exchanged: set it to auto or activations."
            )
        realization = "activations"
    return earlier if realization == "auto" else (realization, at_once)


def _written(choice: Choice, limits: Limits) -> str:
    return " ".join(map(str, (*choice, *limits)))


def _read(chosen: str) -> tuple[Choice, Limits] | tuple[None, None]:
    """What was settled, as it was written; nothing of anything else, so that it is settled again."""
    match chosen.split(" "):
        case [("weights" | "activations") as realization, *numbers] if all(map(str.isdecimal, numbers)):
            counts = [int(number) for number in numbers]
            if len(counts) == 1 + len(Limits._fields):
                return (realization, counts[0]), Limits(*counts[1:])
    return None, None


def _scene(params: Params, base: Base, earlier: Limits | None, *, biprojected: bool) -> tuple[Scene, float, int]:
    """The model with its base measurements, its behaviour rate, and how many positions have directions."""
    settings = params.optimize
    markers = read_markers(Path(params.judge.markers))
    target, baseline = ([row.tokens for row in read_tokens(name, "validation")] for name in ("target", "baseline"))
    folder = pinned_folder(base)
    model = load_model(folder, base.compute_dtype, pick_device(params.runtime.device), base.quantization)
    tokenizer = load_tokenizer(folder)
    limits = measuring_limits(
        model,
        params.runtime.batch_tokens,
        [*target, *baseline],
        max(settings.max_tokens, settings.kl_tokens),
        kept=_exchanged_bytes(model, base),
        earlier=earlier,
    )
    say(f"A forward pass holds at most {limits.generation} tokens.")
    budget = Budget()
    lengths = [len(tokens) + settings.max_tokens for tokens in target]
    target_batches = by_token_budget(lengths, limits.generation, equal_lengths=base.equal_lengths)
    with progress("base responses to target prompts", len(target), params.runtime.progress) as advance:
        said = generate_greedily(model, target, target_batches, settings.max_tokens, advance, budget=budget)
    shown = [shows_behaviour(text, markers) for text in decode(tokenizer, said)]
    if not any(shown):
        raise UnwriteError(
            f"None of the {len(target)} target validation prompts shows the behaviour in the base model: there is "
            f"nothing to remove. Check the target prompts and the markers in {params.judge.markers}."
        )
    batches = forced_batches(baseline, settings.kl_tokens, base.vocabulary, limits, equal_lengths=base.equal_lengths)
    with progress("base responses to baseline prompts", len(baseline), params.runtime.progress) as advance:
        responses = generate_greedily(model, baseline, batches, settings.kl_tokens, advance, budget=budget)
    for marker in markers_in_all(markers, decode(tokenizer, [*said, *responses])):
        say(f"warning: every base response of both sets contains the marker {marker!r}: it separates nothing.")
    form, positions = _closed_form(params, base, model, folder, biprojected=biprojected)
    scene = Scene(
        model=model,
        tokenizer=tokenizer,
        writers=base.writers,
        form=form,
        target=target,
        forced=force_responses(model, baseline, responses, batches, settings.kl_tokens, budget=budget),
        markers=markers,
        max_tokens=settings.max_tokens,
        max_kl=settings.max_kl,
        vocabulary=base.vocabulary,
        equal_lengths=base.equal_lengths,
        limits=limits,
        budget=budget,
    )
    return scene, sum(shown) / len(shown), positions


def _exchanged_bytes(model: PreTrainedModel, base: Base) -> int:
    """What a trial on weights takes beside the model."""
    return sum(parameter.nbytes for parameter in parameters_of(model, parameter_names(base.writers)).values())


def _closed_form(
    params: Params, base: Base, model: PreTrainedModel, folder: Path, *, biprojected: bool
) -> tuple[ClosedForm, int]:
    """Products of the writers with what the search can ask for, and how many positions there are."""
    settings = params.optimize
    tensors = read_tensors(DIRECTIONS, "compute_directions")
    originals = parameters_of(model, parameter_names(base.writers))
    form = ClosedForm(
        blocks=blocks_of_model(originals, folder),
        parameters=originals,
        norm_preservation=settings.norm_preservation,
        directions=tensors["directions"],
        baseline_means=tensors["baseline_mean"],
        known={},
    )
    positions = len(form.directions)
    writers = [
        writer if settings.post_norm == "compensate" else writer.model_copy(update={"norms": []})
        for writer in base.writers
    ]
    wanted = partial(
        vectors_of_search, space=settings.space, layers=base.layers, positions=positions, biprojected=biprojected
    )
    prepare_products(form, writers, wanted)
    return form, positions
