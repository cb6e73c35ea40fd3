"""Generate the greedy responses of base and edited model to the test prompts, and measure how far they diverge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from unwrite.evaluation.divergence import KLDivergences, measure_kl, teacher_force, teacher_forced_batches
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.evaluation.responding import Responding, greedy_responses, response_texts, start_responding
from unwrite.files.atomic import atomic_folder
from unwrite.files.records import write_jsonl
from unwrite.models.end_tokens import log_end_tokens
from unwrite.models.loading import dtype_of_model, load_model
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.environment import Environment
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.templates import load_as_tokenized, stored_template
from unwrite.pipeline.tokens import TokenizedPrompt, prompt_sets, read_tokens
from unwrite.schema.artifacts import read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import MODEL, RESPONSES
from unwrite.workers.both_models import BothModels, released_files, responses_from_workers
from unwrite.workers.model_setup import set_up_model
from unwrite.workers.pool import open_pool
from unwrite.workers.responder import Questions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Prompts = Mapping[str, Sequence[TokenizedPrompt]]


def generate_responses(params: Params) -> str | Environment:
    """Write artifacts/responses/{base,edited}.SET.jsonl of every prompt set, and kl.jsonl (baseline prompts).

    Returns the dtype that the models computed in, or what the workers computed on.
    """
    prompts: Prompts = {name: read_tokens(name, "test") for name in prompt_sets()}
    if params.runtime.workers == 1:
        return _in_this_process(params, prompts)
    with open_pool(params.runtime) as pool:
        base = read_base()
        setup = set_up_model(pool, base.model_copy(update={"quantization": "none"}), params.runtime)
        tokens = {name: [row.tokens for row in rows] for name, rows in prompts.items()}
        questions = Questions(tokens, stored_template(), params.generate.max_tokens, params.generate.kl_tokens)
        both = responses_from_workers(pool, setup, questions, released_files(MODEL))
        tokenizer = load_as_tokenized(pinned_folder(base, weights=False))
        _write(prompts, tokenizer, both, params.generate.max_tokens)
        return pool.environment(setup.dtype)


def _in_this_process(params: Params, prompts: Prompts) -> str:
    settings = params.generate
    base = read_base()
    baseline = [row.tokens for row in prompts["baseline"]]
    folder = pinned_folder(base)
    tokenizer = load_as_tokenized(folder)

    dtype = dtype_of_model(folder, base.compute_dtype, params.runtime)  # once, so that both models compute alike
    model = load_model(folder, dtype, params.runtime)
    all_prompts = [row.tokens for rows in prompts.values() for row in rows]
    longest = max(settings.max_tokens, settings.kl_tokens)
    limits = measuring_limits(model, params.runtime.batch_tokens, all_prompts, longest)
    responding = start_responding(model, tokenizer, all_prompts, limits, padding_sensitive=base.padding_sensitive)
    budget, shared = responding.budget, responding.shared
    log_end_tokens(model, tokenizer)
    base_responses = _respond(model, "base", prompts, params, responding)
    batches = teacher_forced_batches(
        baseline, settings.kl_tokens, base.vocabulary, limits, padding_sensitive=base.padding_sensitive
    )
    teacher_forced = teacher_force(
        model, baseline, base_responses["baseline"], settings.kl_tokens, batches=batches, shared=shared, budget=budget
    )

    del model  # one model in memory at a time
    model = load_model(MODEL, dtype, params.runtime)
    edited_responses = _respond(model, "edited", prompts, params, responding)
    divergences = measure_kl(model, teacher_forced, shared=shared, budget=budget)

    _write(prompts, tokenizer, BothModels(base_responses, edited_responses, divergences), settings.max_tokens)
    return dtype


def _write(prompts: Prompts, tokenizer: PreTrainedTokenizerBase, both: BothModels, longest: int) -> None:
    with atomic_folder(RESPONSES) as temporary:
        for which, responses in (("base", both.base), ("edited", both.edited)):
            for name in prompts:
                rows = _response_rows(tokenizer, prompts[name], responses[name], longest)
                write_jsonl(temporary / f"{which}.{name}.jsonl", rows)
        write_jsonl(temporary / "kl.jsonl", _kl_rows(prompts["baseline"], both.divergences))


def _respond(
    model: PreTrainedModel, which: str, prompts: Prompts, params: Params, responding: Responding
) -> dict[str, list[list[int]]]:
    longest = params.generate.max_tokens
    responses: dict[str, list[list[int]]] = {}
    for name in prompts:
        tokens = [row.tokens for row in prompts[name]]
        with progress(f"{which} model, {name} prompts", len(tokens), params.runtime.progress) as advance:
            responses[name] = greedy_responses(model, tokens, longest, responding, advance=advance)
    return responses


def _response_rows(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[TokenizedPrompt],
    responses: Sequence[Sequence[int]],
    longest: int,
) -> list[dict[str, object]]:
    texts = response_texts(tokenizer, [row.tokens for row in prompts], responses)
    return [
        {
            "prompt": row.prompt,
            "reference": row.reference,
            "response": text,
            "tokens": len(tokens),
            "cut": len(tokens) == longest,
        }
        for row, text, tokens in zip(prompts, texts, responses, strict=True)
    ]


def _kl_rows(prompts: Sequence[TokenizedPrompt], divergences: KLDivergences) -> list[dict[str, object]]:
    return [
        {"prompt": row.prompt, "kl_first_token": first_token, "kl_response": response}
        for row, first_token, response in zip(prompts, divergences.first_token, divergences.response, strict=True)
    ]


if __name__ == "__main__":
    run_stage(generate_responses)
