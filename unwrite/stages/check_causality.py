"""Check that directions of the recipe cause the behaviour: add them, ablate them, and compare with random vectors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unwrite.errors import as_user_error
from unwrite.evaluation.causality import Responses, causal_rate, judged
from unwrite.evaluation.interventions import Planned, Source, intervening, planned_runs, sources_of, untouched
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.evaluation.responding import greedy_responses, response_texts, start_responding
from unwrite.files.marker_lists import read_markers
from unwrite.files.records import write_json, write_jsonl
from unwrite.files.tensors import read_tensors
from unwrite.models.compute_dtype import dtype_name
from unwrite.models.loading import load_model
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.templates import load_as_tokenized
from unwrite.pipeline.tokens import TokenizedPrompt, read_tokens
from unwrite.report.format import percent
from unwrite.schema.artifacts import Recipe, as_json, read_artifact, read_base
from unwrite.schema.evaluation import CausalCheck, Causality, CausalRate
from unwrite.schema.params import Params
from unwrite.schema.paths import CAUSAL_RESPONSES, CAUSALITY, DIRECTIONS, RECIPE
from unwrite.terms import SETS, SetName

logger = logging.getLogger("unwrite.stage")

Prompts = Mapping[SetName, Sequence[TokenizedPrompt]]
Plan = list[tuple[Source | None, Planned]]
"""Runs in order, each with the direction that it tests; none for those of the model as it is, which come first."""


def check_causality(params: Params) -> str:
    """Write artifacts/causality.json and artifacts/causal_responses.jsonl.

    Returns the dtype that the model computed in.
    """
    settings, confidence = params.causality, params.score.confidence
    recipe = read_artifact(Recipe, RECIPE, "select_trial")
    tensors = read_tensors(DIRECTIONS, "compute_directions")
    markers = read_markers(Path(params.judge.markers))
    plan: Plan = [(None, run) for run in untouched()]
    for source in sources_of(recipe.edits, settings.directions):
        with as_user_error(str(RECIPE), "Select another trial (select.trial)."):
            runs = list(planned_runs(source, tensors, controls=settings.controls, seed=settings.seed))
        plan += [(source, run) for run in runs]
    prompts: Prompts = {name: read_tokens(name, "validation") for name in SETS}
    texts, dtype = _respond([run for _, run in plan], prompts, params)
    with as_user_error("The marker list", "Remove that line from judge.markers."):
        responses = [judged(run, found, markers) for (_, run), found in zip(plan, texts, strict=True)]
    as_it_is = {found.run.prompts: found for found in responses[: len(untouched())]}
    rates = [causal_rate(found, as_it_is[found.run.prompts], confidence) for found in responses]
    causality = Causality(
        confidence=confidence,
        max_tokens=params.optimize.max_tokens,
        untouched=[rate for (source, _), rate in zip(plan, rates, strict=True) if source is None],
        checks=_checks(plan, rates),
    )
    write_json(CAUSALITY, as_json(causality))
    write_jsonl(CAUSAL_RESPONSES, _rows(plan, responses, prompts))
    for check in causality.checks:
        _log(check, causality.untouched)
    return dtype


def _respond(runs: Sequence[Planned], prompts: Prompts, params: Params) -> tuple[list[list[str]], str]:
    """Return each run's responses, and the dtype of the model. Responses are whole: a push can make them loop."""
    base = read_base()
    tokens = {name: [row.tokens for row in prompts[name]] for name in SETS}
    folder = pinned_folder(base)
    tokenizer = load_as_tokenized(folder)
    model = load_model(folder, base.compute_dtype, params.runtime, base.quantization)
    everything = [*tokens["target"], *tokens["baseline"]]
    max_tokens = params.optimize.max_tokens
    limits = measuring_limits(model, params.runtime.batch_tokens, everything, max_tokens)
    responding = start_responding(model, tokenizer, everything, limits, padding_sensitive=base.padding_sensitive)
    texts = []
    total = sum(len(tokens[run.prompts]) for run in runs)
    with progress("responses under interventions", total, params.runtime.progress) as advance:
        for run in runs:
            asked = tokens[run.prompts]
            with intervening(model, run):
                found = greedy_responses(model, asked, max_tokens, responding, advance=advance)
            texts.append(response_texts(tokenizer, asked, found))
    return texts, dtype_name(model.dtype)


def _checks(plan: Plan, rates: Sequence[CausalRate]) -> list[CausalCheck]:
    """Return one check per direction, in the order of the plan."""
    return [
        CausalCheck(
            position=source.position,
            residual_index=source.residual_index,
            strength=source.strength,
            added_at=source.added_at,
            rates=[rate for (of, _), rate in zip(plan, rates, strict=True) if of == source],
        )
        for source in dict.fromkeys(source for source, _ in plan if source is not None)
    ]


def _rows(plan: Plan, responses: Sequence[Responses], prompts: Prompts) -> Iterator[dict[str, object]]:
    for (source, run), found in zip(plan, responses, strict=True):
        named = {
            "position": None if source is None else source.position,
            "residual_index": None if source is None else source.residual_index,
            "prompts": run.prompts,
            "intervention": run.intervention,
            "vector": run.vector,
            "seed": run.seed,
        }
        of_each = zip(prompts[run.prompts], found.texts, found.shown, found.degenerate, strict=True)
        for row, response, shown, degenerate in of_each:
            yield {**named, "prompt": row.prompt, "response": response, "shown": shown, "degenerate": degenerate}


def _log(check: CausalCheck, as_it_is: Sequence[CausalRate]) -> None:
    """Say what the direction did, beside the untouched model and the controls."""
    before = {rate.prompts: percent(rate.behaviour_rate.value) for rate in as_it_is}
    for rate in check.rates:
        if rate.vector == "random":
            continue
        like = (rate.intervention, rate.length)
        controls = [r for r in check.rates if r.vector == "random" and (r.intervention, r.length) == like]
        random = ", ".join(percent(r.behaviour_rate.value) for r in controls)
        what = {"direction": "the direction", "difference": "the whole difference of the means"}[str(rate.vector)]
        did = f"Ablating {what}"
        if rate.length is not None:
            did = f"Adding {rate.length:.3g} of {what} at residual index {check.added_at}"
        logger.info(
            f"{did}: the behaviour in {percent(rate.behaviour_rate.value)} of the responses to {rate.prompts} prompts "
            f"(untouched: {before[rate.prompts]}{f'; random vectors: {random}' if random else ''})."
        )


if __name__ == "__main__":
    run_stage(check_causality)
