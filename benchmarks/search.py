"""Compare trials as `optimize_weights` measures them with PEFT adapters and full `generate()`, and with the floor."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from benchmarks.adapter import change_of, set_adapter, with_adapter
from benchmarks.comparison import alternated, peak_memory, ratio, spread, table
from benchmarks.projects import deeper_demo, fewer_prompts, is_demo
from unwrite.core.kl import kl_from_log_probs, log_probabilities
from unwrite.core.markers import shows_behaviour
from unwrite.editing.exact import applied_direction, edited_parameters, parameter_names
from unwrite.editing.recipe import build_edits, edit_settings
from unwrite.errors import UnwriteError
from unwrite.evaluation.behaviour import decode, early_verdict
from unwrite.evaluation.divergence import teacher_forced_batches
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.files.marker_lists import read_markers
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.models.batches import by_token_budget, left_padded
from unwrite.models.compute_dtype import dtype_name
from unwrite.models.generation import generate_decided
from unwrite.models.loading import load_model, load_tokenizer
from unwrite.models.memory import Limits
from unwrite.models.patching import patched_parameters
from unwrite.models.placement import parameters_of
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import Base, Edit, EditSettings, TrialParameters, read_base
from unwrite.schema.params import Params, load_params
from unwrite.schema.paths import DIRECTIONS
from unwrite.search.inputs import read_inputs
from unwrite.search.objective import Objective, prepare_objective
from unwrite.search.racing import ANY_TRIAL, Standard
from unwrite.search.selection import best_within
from unwrite.search.trials import STOPPED, Measured, read_trials
from unwrite.terms import SETS, BackendName, NormPreservation

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TRIALS = 10
_MATMUL = (1024, 1024, 1024)
_PLAIN = (
    "The plain way: PEFT adapters of rank 3 on every writer, each change of a weight by SVD; `generate()` in one batch "
    "of all target prompts, padded on the left, greedy, to the full `optimize.max_tokens`; one pass over the baseline "
    "prompts for the divergence of the first token; one trial at a time, with `gc.collect()` after each. Ours includes "
    "the divergence over `optimize.kl_tokens` tokens."
)
Trials = Sequence[TrialParameters]
Responses = Sequence[Sequence[int]]


class Plain(NamedTuple):
    """The inputs of the plain way: the model with its adapter, both sets padded, the base's first predictions."""

    settings: Settings
    adapted: PeftModel
    target: dict[str, Tensor]
    baseline: dict[str, Tensor]
    log_probs: Tensor


class Settings(NamedTuple):
    """The inputs of both ways: the model and its limits, tokenizer, prompts, markers, and what edits are built from."""

    params: Params
    base: Base
    model: PreTrainedModel
    limits: Limits
    tokenizer: PreTrainedTokenizerBase
    target: list[list[int]]
    baseline: list[list[int]]
    markers: list[str]
    directions: Tensor
    means: Tensor


def report(repeats: int, count: int = TRIALS) -> str:
    """Return tables of time, memory and, for the demo, growth.

    Args:
        repeats: number of rounds.
        count: trials in a round.
    """
    trials = recipes(count)
    checked = _check(trials)
    rows = [row for threads in (1, 2) for row in _times(trials, repeats, threads)]
    times = table(["threads", "", "s per trial", "plain way ÷ this", "this ÷ floor"], rows)
    memory = [
        [name, f"{peak_memory(_single_run, way, min(5, count)):.0f}"]
        for name, way in (
            ("the model and the base's measurements alone", "nothing"),
            ("ours, on weights", "weights"),
            ("ours, on activations, 5 at once", "activations"),
            ("plain way", "plain"),
        )
        if way in {"weights", "plain"} or is_demo()
    ]
    sizes = load_params().tokenize.splits.validation
    parts = [
        f"{len(trials)} recipes of the project's own search, {sizes} + {sizes} prompts. {_PLAIN}",
        times,
        _floor_count(trials),
        checked,
        table(["", "peak MB"], memory),
    ]
    return "\n\n".join([*parts, *([_growth(1)] if is_demo() else [])])


def recipes(count: int) -> list[TrialParameters]:
    """Return recipes of the project's own search, from its one-shot settings to its last trials; one: the chosen."""
    if count == 1:
        optimize = load_params().optimize
        return [best_within(read_trials(), optimize.max_behaviour_rate).parameters]
    trials = sorted([*read_trials(), *read_trials(STOPPED)], key=lambda trial: trial.number)
    step = (len(trials) - 1) / max(1, count - 1)
    return [trials[round(number * step)].parameters for number in range(min(count, len(trials)))]


def _times(trials: Trials, repeats: int, threads: int) -> list[list[object]]:
    torch.set_num_threads(threads)
    plain = prepare_plain(settings_of(load_params()))
    lengths = [[len(response) for response in early_responses(plain.settings, trial)] for trial in trials]
    ways: dict[str, Callable[[], object]] = {
        "plain way": lambda: [plain_trial(plain, trial) for trial in trials],
        "ours, every trial in full": ours("weights", trials),
        "ours, raced against the chosen trial": ours("weights", trials, racing=True),
        "floor": lambda: [floor(plain.settings, decoded) for decoded in lengths],
    }
    seconds = alternated(ways, repeats)
    torch.set_num_threads(1)
    return [
        [
            threads,
            name,
            spread([s / len(trials) for s in taken], 3),
            ratio(seconds["plain way"], taken),
            ratio(taken, seconds["floor"]),
        ]
        for name, taken in seconds.items()
    ]


def _floor_count(trials: Trials) -> str:
    """Count the floating-point operations of the floor, and their time at the rate of a large matrix product."""
    settings = settings_of(load_params())
    decoded = fmean(sum(map(len, early_responses(settings, trial))) for trial in trials)
    read = sum(map(len, [*settings.target, *settings.baseline]))
    read += settings.params.optimize.kl_tokens * len(settings.baseline)
    body = sum(parameter.numel() for parameter in settings.model.base_model.parameters())
    head = settings.base.vocabulary * settings.base.hidden_size
    # Tied or not, the embedding is a look-up, and the head is one more matrix.
    operations = 2 * (read + decoded) * (body - head)
    operations += (
        2 * (len(settings.target) + settings.params.optimize.kl_tokens * len(settings.baseline) + decoded) * head
    )
    rate = _operations_per_second()
    return (
        f"The floor, counted: {read} tokens read and {decoded:.0f} decoded a trial are {operations / 1e9:.0f} GFLOP, "
        f"{operations / rate:.1f} s at the {rate / 1e9:.0f} GFLOP/s of a large product on one thread."
    )


def _operations_per_second() -> float:
    rows, inner, columns = _MATMUL
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        torch.matmul(left, right)
        taken.append(time.perf_counter() - start)
    return 2 * rows * inner * columns / min(taken)


def _check(trials: Trials) -> str:
    """Check that both ways agree where rank 3 is exact: on the demo on every prompt, to the trial's rate.

    On a deep model the two round differently often enough that a verdict can turn; then the agreement is reported.

    Raises:
        RuntimeError: they do not agree on the demo, or on less than 98 % of the prompts elsewhere.
    """
    exact = settings_of(with_settings(load_params(), norm_preservation="none", kl_tokens=1), "float32")
    same, compared, rates, divergences = _agreement(exact, trials)
    objective = _objective(with_runtime(exact.params, "weights"), exact.base)
    results = [measured(result) for result in objective.evaluate(trials)]
    on_demo = exact.base.source == "demo/model"
    if same < compared * (1 if on_demo else 0.98) or (
        on_demo and [result.behaviour_rate for result in results] != rates
    ):
        raise RuntimeError(f"Verdicts differ: {same} of {compared} are equal; rates must be {rates}, got {results}.")
    apart = max(abs(kl - result.kl) / max(kl, 1e-4) for kl, result in zip(divergences, results, strict=True))
    if apart > 0.01:
        raise RuntimeError(f"First-token divergences differ by up to {apart:.1%}.")
    exactly = (
        f"Verdicts, float32 and `none` (where the adapter's rank is enough): {same} of {compared} equal, first-token "
        f"divergences to {apart:.1%}."
    )
    if not on_demo:  # a second round of the plain way takes minutes
        return exactly
    timed = settings_of(load_params())
    same_timed, all_timed, _, _ = _agreement(timed, trials)
    mode = timed.params.optimize.norm_preservation
    return (
        f"{exactly} As timed ({dtype_name(timed.model.dtype)}, `{mode}`, of which rank 3 is an approximation): "
        f"{same_timed} of {all_timed} equal."
    )


def _agreement(settings: Settings, trials: Trials) -> tuple[int, int, list[float], list[float]]:
    """Return the numbers of equal and of all verdicts, and the plain way's rate and divergence for each trial."""
    plain = prepare_plain(settings)
    same, rates, divergences = 0, [], []
    for trial in trials:
        verdicts, kl = plain_trial(plain, trial)
        early = [
            shows_behaviour(text, settings.markers)
            for text in decode(settings.tokenizer, early_responses(settings, trial))
        ]
        same += sum(full == stopped for full, stopped in zip(verdicts, early, strict=True))
        rates.append(sum(verdicts) / len(verdicts))
        divergences.append(kl)
    return same, len(trials) * len(settings.target), rates, divergences


def _growth(repeats: int) -> str:
    """Return a table of how the time of a search grows."""
    rows: list[list[object]] = []

    def add(name: str, trials: Trials) -> None:
        plain = prepare_plain(settings_of(load_params()))
        seconds = alternated(
            {"plain": lambda: [plain_trial(plain, trial) for trial in trials], "ours": ours("weights", trials)}, repeats
        )
        rows.append([name, *(f"{median(seconds[way]):.2f}" for way in ("ours", "plain")), ratio(*seconds.values())])

    few, many = recipes(TRIALS), recipes(2 * TRIALS)
    add(f"{TRIALS} trials, 100 + 100 prompts, 6 layers", few)
    add(f"{2 * TRIALS} trials", many)
    with fewer_prompts(50):
        add("50 + 50 prompts", few)
    with deeper_demo():
        add("12 layers", few)
    return "Growth, one thread, on weights:\n\n" + table(["", "ours s", "plain s", "plain ÷ ours"], rows)


def settings_of(params: Params, dtype: str | None = None) -> Settings:
    """Read the inputs of both ways from the project in this folder, optionally with another compute dtype."""
    base = read_base()
    base = base if dtype is None else base.model_copy(update={"compute_dtype": dtype})
    folder = pinned_folder(base)
    target, baseline = ([row.tokens for row in read_tokens(name, "validation")] for name in SETS)
    tensors = read_tensors(DIRECTIONS, "compute_directions")
    model = load_model(folder, base.compute_dtype, params.runtime.device)
    prompts, longest = [*target, *baseline], max(params.optimize.max_tokens, params.optimize.kl_tokens)
    return Settings(
        params=params,
        base=base,
        model=model,
        limits=measuring_limits(model, params.runtime.batch_tokens, prompts, longest),
        tokenizer=load_tokenizer(folder),
        target=target,
        baseline=baseline,
        markers=list(read_markers(Path(params.judge.markers))),
        directions=tensors["directions"],
        means=tensors["baseline_mean"],
    )


def with_settings(params: Params, *, norm_preservation: NormPreservation, kl_tokens: int) -> Params:
    """Return the parameters with this norm preservation, and the divergence over this many tokens."""
    optimize = params.optimize.model_copy(update={"norm_preservation": norm_preservation, "kl_tokens": kl_tokens})
    return params.model_copy(update={"optimize": optimize})


def with_runtime(params: Params, backend: BackendName | Literal["auto"], at_once: int = 0) -> Params:
    """Return the parameters with this backend, this many trials at once, and no progress."""
    changed = {"backend": backend, "trials_at_once": at_once, "progress": "none"}
    return params.model_copy(update={"runtime": params.runtime.model_copy(update=changed)})


def ours(
    backend: BackendName | Literal["auto"], trials: Trials, *, racing: bool = False
) -> Callable[[], list[Measured]]:
    """Return a function that measures the trials as the stage does, in batches of `optimize.batch`.

    Args:
        backend: on weights or activations.
        trials: the parameters of each trial.
        racing: whether they are stopped once they can no longer be chosen over the trial that the project chose.
    """
    params = with_runtime(load_params(), backend)
    objective = _objective(params, read_base())
    size = params.optimize.batch
    aim = params.optimize.max_behaviour_rate
    standard = Standard(best_within(read_trials(), aim), aim) if racing else ANY_TRIAL

    def evaluate() -> list[Measured]:
        batches = [trials[start : start + size] for start in range(0, len(trials), size)]
        return [measured(result) for batch in batches for result in objective.evaluate(batch, standard)]

    return evaluate


def _objective(params: Params, base: Base) -> Objective:
    """Return the objective that measures trials as the stage does."""
    return prepare_objective(read_inputs(params, base), params.optimize, shared_settings(params), params.runtime)


def measured(result: Measured | UnwriteError) -> Measured:
    """Return the measurement of a trial.

    Raises:
        UnwriteError: the trial failed.
    """
    if isinstance(result, UnwriteError):
        raise result
    return result


def prepare_plain(settings: Settings) -> Plain:
    """Wrap a model in an adapter, and compute what the base model predicts after the baseline prompts.

    PEFT changes the model that it wraps, so the adapter gets its own copy, loaded again, instead of `settings.model`.
    """
    folder = pinned_folder(settings.base)
    model = load_model(folder, settings.base.compute_dtype, settings.model.device)
    adapted = with_adapter(model, [writer.module for writer in settings.base.writers])
    target, baseline = (left_padded(prompts, model.device) for prompts in (settings.target, settings.baseline))
    with torch.inference_mode():
        log_probs = log_probabilities(adapted(**baseline).logits[:, -1])  # no adapter changes anything yet
    return Plain(settings, adapted, target, baseline, log_probs)


def edits_of(settings: Settings, trial: TrialParameters) -> list[Edit]:
    """Return the edits of a trial."""
    return build_edits(trial, settings.base.writers, shared_settings(settings.params))


def shared_settings(params: Params) -> EditSettings:
    """Return the settings that all trials share."""
    return edit_settings(params.optimize, read_metadata(DIRECTIONS, "compute_directions")["orthogonalize"])


@torch.inference_mode()
def plain_trial(plain: Plain, trial: TrialParameters) -> tuple[list[bool], float]:
    """Run a trial the plain way: return the verdict per target prompt, and the mean first-token divergence in nats."""
    settings = plain.settings
    modules = {writer.matrix.parameter: writer.module for writer in settings.base.writers}
    edits = edits_of(settings, trial)
    originals = parameters_of(settings.model, parameter_names(edits))
    changes = {
        modules[edit.matrix.parameter]: change_of(
            originals[edit.matrix.parameter],
            applied_direction(edit.direction, edit.norms, settings.directions, settings.means, originals).to(
                settings.model.device
            ),
            edit.strength,
            settings.params.optimize.norm_preservation,
        )
        for edit in edits
    }
    set_adapter(plain.adapted, changes)
    width = plain.target["input_ids"].shape[1]
    inputs = {name: plain.target[name] for name in ("input_ids", "attention_mask")}
    adapted: Any = plain.adapted
    generated = adapted.generate(
        **inputs, max_new_tokens=settings.params.optimize.max_tokens, do_sample=False, pad_token_id=0
    )
    texts = decode(settings.tokenizer, generated[:, width:].tolist())
    logits = plain.adapted(**plain.baseline).logits[:, -1]
    kl = float(kl_from_log_probs(plain.log_probs, logits).mean())
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return [shows_behaviour(text, settings.markers) for text in texts], kl


def early_responses(settings: Settings, trial: TrialParameters) -> Responses:
    """Generate the responses only as far as needed to decide the verdict."""
    edits, optimize, model = edits_of(settings, trial), settings.params.optimize, settings.model
    values = edited_parameters(
        edits,
        parameters_of(model, parameter_names(edits)),
        optimize.norm_preservation,
        settings.directions,
        settings.means,
    )
    is_certain = early_verdict(settings.tokenizer, settings.markers)
    lengths = [len(prompt) + optimize.max_tokens for prompt in settings.target]
    batches = by_token_budget(lengths, settings.limits.generation, padding_sensitive=False)
    with patched_parameters(model, values):
        return generate_decided(
            model, settings.target, batches, optimize.max_tokens, lambda _row, response: is_certain(response, "")
        )


@torch.inference_mode()
def floor(settings: Settings, decoded: Sequence[int]) -> None:
    """Do the least that any trial needs: a forward pass over each set, and the tokens decoded before each verdict.

    Args:
        settings: the inputs; their model runs unedited, since the values of the weights do not change the cost.
        decoded: number of tokens in the response to each target prompt.
    """
    model: Any = settings.model
    tokens = settings.params.optimize.kl_tokens
    batches = teacher_forced_batches(
        settings.baseline, tokens, settings.base.vocabulary, settings.limits, padding_sensitive=False
    )
    for batch in batches:
        prompts = [[*settings.baseline[row], *[0] * (tokens - 1)] for row in batch]
        model(**left_padded(prompts, model.device), use_cache=False, logits_to_keep=tokens)
    inputs = left_padded(settings.target, model.device)
    mask, positions = inputs["attention_mask"], inputs["position_ids"][:, -1:]
    output = model(**inputs, use_cache=True, logits_to_keep=1)
    lengths = torch.tensor(decoded)
    for step in range(1, max(decoded)):
        running = (lengths > step).nonzero().flatten()
        cache, best = output.past_key_values, output.logits[:, -1].argmax(-1)
        if len(running) < 0.9 * len(lengths):
            cache.reorder_cache(running.to(model.device))
            best, mask, positions, lengths = best[running], mask[running], positions[running], lengths[running]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = positions + 1
        output = model(
            input_ids=best[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )


def _single_run(way: str, count: int) -> None:
    """Run one batch of trials, to measure its memory."""
    trials = recipes(count)
    if way == "plain":
        plain = prepare_plain(settings_of(load_params()))
        for trial in trials:
            plain_trial(plain, trial)
    elif way == "nothing":
        ours("weights", [])
    else:
        ours("weights" if way == "weights" else "activations", trials)()
