"""Tokenize the prompts: cut splits, render the chat template, write token ids with the rendered text."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

from unwrite.files.atomic import atomic_folder
from unwrite.files.prompts import check_no_shared_prompts, cut_splits, read_prompts
from unwrite.models import chat
from unwrite.models.loading import load_config, load_tokenizer
from unwrite.models.prompt_limits import longest_sequence, refuse_too_long, refuse_unknown_tokens
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.tokens import TokenizedPrompt, write_tokens
from unwrite.schema.artifacts import read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import TOKENS
from unwrite.terms import SETS, SPLITS, SetName, SplitName

logger = logging.getLogger("unwrite.stage")


def tokenize_prompts(params: Params) -> None:
    """Write artifacts/tokens/{target,baseline}.{train,validation,test}.jsonl."""
    settings = params.tokenize
    paths: dict[SetName, Path] = {"target": Path(settings.target), "baseline": Path(settings.baseline)}
    sizes: dict[SplitName, int] = {split: getattr(settings.splits, split) for split in SPLITS}
    sets = {}
    for name in SETS:
        prompts = read_prompts(paths[name])
        sets[name] = cut_splits(paths[name], prompts, sizes)
        logger.info("%s: %d of the %d prompts in %s.", name, sum(sizes.values()), len(prompts), paths[name])
    check_no_shared_prompts(sets)
    base = read_base()
    folder = pinned_folder(base, weights=False)
    tokenizer, limit = load_tokenizer(folder), longest_sequence(load_config(folder))
    today = date.fromisoformat(settings.today) if settings.today else None
    system_prompt, arguments = settings.system_prompt, settings.template_arguments
    responses = _longest_responses(params)
    with atomic_folder(TOKENS) as temporary:
        for name in SETS:
            for split in SPLITS:
                messages = [prompt.text for prompt in sets[name][split]]
                rendered = chat.tokenize_prompts(
                    tokenizer,
                    messages,
                    system_prompt=system_prompt,
                    response_prefix=settings.response_prefix,
                    template_arguments=arguments,
                    today=today,
                )
                where, tokens = f"{name} {split}", [prompt.tokens for prompt in rendered]
                refuse_unknown_tokens(where, messages, tokens, base.vocabulary)
                refuse_too_long(where, messages, tokens, responses[split], limit)
                rows = [
                    TokenizedPrompt(prompt.text, prompt.reference, text, ids)
                    for prompt, (text, ids) in zip(sets[name][split], rendered, strict=True)
                ]
                write_tokens(temporary, name, split, rows)
    notes = chat.template_notes(tokenizer, system_prompt=system_prompt, template_arguments=arguments, today=today)
    for line in notes:
        logger.info(line)


def _longest_responses(params: Params) -> dict[SplitName, int]:
    """Return how many response tokens follow the prompts of each split, at most."""
    return {
        "train": 0,
        "validation": max(params.optimize.max_tokens, params.optimize.kl_tokens),
        "test": max(params.generate.max_tokens, params.generate.kl_tokens),
    }


if __name__ == "__main__":
    run_stage(tokenize_prompts)
