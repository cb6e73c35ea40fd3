"""Generate the greedy responses of base and edited model to the test prompts, and measure how far they diverge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from unwrite.evaluation.behaviour import decode, opened_tags
from unwrite.evaluation.divergence import KLDivergences, measure_kl, teacher_force, teacher_forced_batches
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.files.atomic import atomic_folder
from unwrite.files.records import write_jsonl
from unwrite.models.batches import Budget, by_token_budget
from unwrite.models.end_tokens import end_tokens, log_end_tokens
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import dtype_of_model, load_model, load_tokenizer
from unwrite.models.prefix_check import prefix_of
from unwrite.models.shared_work import SharedWork
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.progress import progress
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.tokens import TokenizedPrompt, prompt_sets, read_tokens
from unwrite.schema.artifacts import read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import MODEL, RESPONSES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Prompts = Mapping[str, Sequence[TokenizedPrompt]]
Responses = dict[str, list[list[int]]]


def generate_responses(params: Params) -> str:
    """Write artifacts/responses/{base,edited}.SET.jsonl of every prompt set, and kl.jsonl (baseline prompts).

    Returns the dtype that the models computed in.
    """
    settings = params.generate
    base = read_base()
    prompts: Prompts = {name: read_tokens(name, "test") for name in prompt_sets()}
    baseline = [row.tokens for row in prompts["baseline"]]
    folder = pinned_folder(base)
    tokenizer = load_tokenizer(folder)

    dtype = dtype_of_model(folder, base.compute_dtype, params.runtime.device)  # once, so that both models compute alike
    model = load_model(folder, dtype, params.runtime.device)
    all_prompts = [row.tokens for rows in prompts.values() for row in rows]
    longest = max(settings.max_tokens, settings.kl_tokens)
    limits = measuring_limits(model, params.runtime.batch_tokens, all_prompts, longest)
    budget = Budget(limits.generation)
    shared = SharedWork(prefix_of(model, all_prompts, padding_sensitive=base.padding_sensitive))
    log_end_tokens(model, tokenizer)
    respond = partial(
        _respond,
        prompts=prompts,
        params=params,
        end_ids=end_tokens(model, tokenizer),
        budget=budget,
        shared=shared,
        padding_sensitive=base.padding_sensitive,
    )
    base_responses = respond(model, "base")
    batches = teacher_forced_batches(
        baseline, settings.kl_tokens, base.vocabulary, limits, padding_sensitive=base.padding_sensitive
    )
    teacher_forced = teacher_force(
        model, baseline, base_responses["baseline"], settings.kl_tokens, batches=batches, shared=shared, budget=budget
    )

    del model  # one model in memory at a time
    model = load_model(MODEL, dtype, params.runtime.device)
    edited_responses = respond(model, "edited")
    divergences = measure_kl(model, teacher_forced, shared=shared, budget=budget)

    with atomic_folder(RESPONSES) as temporary:
        for which, responses in (("base", base_responses), ("edited", edited_responses)):
            for name in prompts:
                rows = _response_rows(tokenizer, prompts[name], responses[name], settings.max_tokens)
                write_jsonl(temporary / f"{which}.{name}.jsonl", rows)
        write_jsonl(temporary / "kl.jsonl", _kl_rows(prompts["baseline"], divergences))
    return dtype


def _respond(
    model: PreTrainedModel,
    which: str,
    *,
    prompts: Prompts,
    params: Params,
    end_ids: Sequence[int],
    budget: Budget,
    shared: SharedWork,
    padding_sensitive: bool,
) -> Responses:
    longest = params.generate.max_tokens
    responses: Responses = {}
    for name in prompts:
        tokens = [row.tokens for row in prompts[name]]
        lengths = [len(row) + longest for row in tokens]
        batches = by_token_budget(lengths, budget.tokens, padding_sensitive=padding_sensitive)
        with progress(f"{which} model, {name} prompts", len(tokens), params.runtime.progress) as advance:
            responses[name] = generate_greedily(
                model,
                tokens,
                longest,
                batches=batches,
                end_ids=end_ids,
                shared=shared,
                advance=advance,
                budget=budget,
            )
    return responses


def _response_rows(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[TokenizedPrompt],
    responses: Sequence[Sequence[int]],
    longest: int,
) -> list[dict[str, object]]:
    tags = opened_tags(tokenizer, [row.tokens for row in prompts])
    return [
        {
            "prompt": row.prompt,
            "reference": row.reference,
            "response": tag + text,
            "tokens": len(tokens),
            "cut": len(tokens) == longest,
        }
        for row, tag, text, tokens in zip(prompts, tags, decode(tokenizer, responses), responses, strict=True)
    ]


def _kl_rows(prompts: Sequence[TokenizedPrompt], divergences: KLDivergences) -> list[dict[str, object]]:
    return [
        {"prompt": row.prompt, "kl_first_token": first_token, "kl_response": response}
        for row, first_token, response in zip(prompts, divergences.first_token, divergences.response, strict=True)
    ]


if __name__ == "__main__":
    run_stage(generate_responses)
