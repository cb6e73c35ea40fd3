"""What the search minimizes: a list of recipes, measured on the validation prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unwrite.core.markers import markers_in_all, shows_behaviour
from unwrite.editing.basis import vectors_of_search
from unwrite.editing.blocks import blocks_of_model
from unwrite.editing.edit_cache import EditCache, prepare_products
from unwrite.editing.exact import parameter_names
from unwrite.editing.recipe import applied_norms, build_edits
from unwrite.errors import UnwriteError, as_user_error
from unwrite.evaluation.behaviour import decode
from unwrite.evaluation.divergence import teacher_force, teacher_forced_batches
from unwrite.evaluation.limits import measuring_limits
from unwrite.files.prompts import read_markers
from unwrite.files.tensors import read_tensors
from unwrite.models.batches import Budget, by_token_budget, do_nothing
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model, load_tokenizer
from unwrite.models.memory import Limits
from unwrite.models.patching import parameters_of
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import say
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import Base, Edit, EditSettings, TrialParameters
from unwrite.schema.params import Params
from unwrite.schema.paths import DIRECTIONS
from unwrite.search.backends import EvaluationContext, Result, choose_backend, on_activations, on_weights
from unwrite.terms import BackendName

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Choice = tuple[BackendName, int]


class Objective(NamedTuple):
    """What measures a list of trials; the base model's behaviour rate; how many prompt positions have directions."""

    evaluate: Callable[[Sequence[TrialParameters]], list[Result]]
    base_rate: float
    positions: int


def prepare_objective(
    params: Params,
    base: Base,
    edit_settings: EditSettings,
    *,
    chosen: str | None = None,
    choose: Callable[[str], object] = do_nothing,
) -> Objective:
    """Loads the model and measures all that trials have in common.

    Args:
        params: All sections.
        base: The pinned model.
        edit_settings: What all trials share.
        chosen: What `choose` was called with in an earlier part of the same search. It counts, unless `runtime` says
            otherwise: trials measured in another way, or in other batches, are rounded in another way, and lead to
            other trials.
        choose: Called when it is known how trials are measured, as late as after the first list of them.

    Raises:
        UnwriteError: No target prompt shows the behaviour; or `runtime.backend` can't be had.
    """
    earlier, limits = _read(chosen or "")
    choice = _choice(params, base, earlier)
    scene, base_rate, positions = _scene(params, base, edit_settings, limits)

    def edits_of(trial: TrialParameters) -> list[Edit]:
        return build_edits(trial, base.writers, edit_settings)

    def evaluate(trials: Sequence[TrialParameters]) -> list[Result]:
        nonlocal choice
        recipes = [edits_of(trial) for trial in trials]
        if choice is None:
            at_once = params.runtime.trials_at_once or len(trials)
            backend, why, results = choose_backend(scene, recipes, at_once)
            choice = (backend, at_once)
            say(f"Trials are measured on {why}.")
            choose(_written(choice, scene.limits))
            return results
        backend, at_once = choice
        if backend == "weights":
            return on_weights(scene, recipes)
        return on_activations(scene, recipes, at_once)

    if choice is not None:
        choose(_written(choice, scene.limits))
    return Objective(evaluate, base_rate, positions)


def _choice(params: Params, base: Base, earlier: Choice | None) -> Choice | None:
    """How trials are measured, where that is settled: by `runtime`, by the model, or by what was chosen before."""
    runtime = params.runtime
    at_once = runtime.trials_at_once or params.optimize.batch
    backend = runtime.backend
    if base.quantization != "none":
        if backend == "weights":
            raise UnwriteError(
                f"runtime.backend is weights, but the model is quantized ({base.quantization}) and has no weights "
                "that could be exchanged: set it to auto or activations."
            )
        backend = "activations"
    return earlier if backend == "auto" else (backend, at_once)


def _written(choice: Choice, limits: Limits) -> str:
    return " ".join(map(str, (*choice, *limits)))


def _read(chosen: str) -> tuple[Choice, Limits] | tuple[None, None]:
    """What was settled, as it was written; nothing of anything else, so that it is settled again."""
    match chosen.split(" "):
        case [("weights" | "activations") as backend, *numbers] if all(map(str.isdecimal, numbers)):
            counts = [int(number) for number in numbers]
            if len(counts) == 1 + len(Limits._fields):
                return (backend, counts[0]), Limits(*counts[1:])
    return None, None


def _scene(
    params: Params, base: Base, edit_settings: EditSettings, earlier: Limits | None
) -> tuple[EvaluationContext, float, int]:
    """The model with its base measurements, its behaviour rate, and how many positions have directions."""
    settings = params.optimize
    markers = read_markers(Path(params.judge.markers))
    target, baseline = ([row.tokens for row in read_tokens(name, "validation")] for name in ("target", "baseline"))
    folder = pinned_folder(base)
    model = load_model(folder, base.compute_dtype, params.runtime.device, base.quantization)
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
    target_batches = by_token_budget(lengths, limits.generation, padding_sensitive=base.padding_sensitive)
    with progress("base responses to target prompts", len(target), params.runtime.progress) as advance:
        said = generate_greedily(
            model, target, settings.max_tokens, batches=target_batches, advance=advance, budget=budget
        )
    with as_user_error(params.judge.markers, "Remove that line."):
        shown = [shows_behaviour(text, markers) for text in decode(tokenizer, said)]
    if not any(shown):
        raise UnwriteError(
            f"None of the {len(target)} target validation prompts shows the behaviour in the base model: there is "
            f"nothing to remove. Check the target prompts and the markers in {params.judge.markers}."
        )
    batches = teacher_forced_batches(
        baseline, settings.kl_tokens, base.vocabulary, limits, padding_sensitive=base.padding_sensitive
    )
    with progress("base responses to baseline prompts", len(baseline), params.runtime.progress) as advance:
        responses = generate_greedily(
            model, baseline, settings.kl_tokens, batches=batches, advance=advance, budget=budget
        )
    for marker in markers_in_all(markers, decode(tokenizer, [*said, *responses])):
        say(f"warning: every base response of both sets contains the marker {marker!r}: it separates nothing.")
    form, positions = _closed_form(params, base, edit_settings, model, folder)
    scene = EvaluationContext(
        model=model,
        tokenizer=tokenizer,
        writers=base.writers,
        form=form,
        target=target,
        teacher_forced=teacher_force(model, baseline, responses, settings.kl_tokens, batches=batches, budget=budget),
        markers=markers,
        max_tokens=settings.max_tokens,
        max_kl=settings.max_kl,
        vocabulary=base.vocabulary,
        padding_sensitive=base.padding_sensitive,
        limits=limits,
        budget=budget,
    )
    return scene, sum(shown) / len(shown), positions


def _exchanged_bytes(model: PreTrainedModel, base: Base) -> int:
    """What a trial on weights takes beside the model."""
    return sum(parameter.nbytes for parameter in parameters_of(model, parameter_names(base.writers)).values())


def _closed_form(
    params: Params, base: Base, edit_settings: EditSettings, model: PreTrainedModel, folder: Path
) -> tuple[EditCache, int]:
    """Products of the writers with what the search can ask for, and how many positions there are."""
    settings = params.optimize
    tensors = read_tensors(DIRECTIONS, "compute_directions")
    originals = parameters_of(model, parameter_names(base.writers))
    form = EditCache(
        blocks=blocks_of_model(originals, folder),
        parameters=originals,
        norm_preservation=edit_settings.norm_preservation,
        directions=tensors["directions"],
        baseline_means=tensors["baseline_mean"],
    )
    positions = len(form.directions)
    writers = [writer.model_copy(update={"norms": applied_norms(writer, edit_settings)}) for writer in base.writers]
    wanted = partial(
        vectors_of_search,
        space=settings.space,
        layers=base.layers,
        positions=positions,
        biprojected=edit_settings.orthogonalize == "biprojected",
    )
    prepare_products(form, writers, wanted)
    return form, positions
