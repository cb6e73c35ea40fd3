"""Tokenize the prompts: cut splits, render the chat template, write token ids with the rendered text."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from unwrite.files.atomic import atomic_folder
from unwrite.files.prompts import Prompt, check_no_shared_prompts, cut_splits, read_extra_set, read_prompts
from unwrite.models import chat
from unwrite.models.loading import load_config, load_tokenizer
from unwrite.models.prompt_limits import longest_sequence, refuse_too_long, refuse_unknown_tokens
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.tokens import TokenizedPrompt, write_tokens
from unwrite.schema.artifacts import SetFiles, read_artifact, read_base
from unwrite.schema.params import ExtraSet, Params
from unwrite.schema.paths import PROMPT_FILES, TOKENS
from unwrite.terms import SETS, SPLITS, SetName, SplitName

logger = logging.getLogger("unwrite.stage")


def tokenize_prompts(params: Params) -> None:
    """Write artifacts/tokens/{target,baseline}.{train,validation,test}.jsonl, and NAME.test.jsonl of extra sets."""
    settings = params.tokenize
    paths: dict[SetName, Path] = {"target": Path(settings.target), "baseline": Path(settings.baseline)}
    sizes: dict[SplitName, int] = {split: getattr(settings.splits, split) for split in SPLITS}
    sets: dict[str, dict[SplitName, list[Prompt]]] = {}
    for name in SETS:
        prompts = read_prompts(paths[name])
        sets[name] = cut_splits(paths[name], prompts, sizes)
        logger.info("%s: %d of the %d prompts in %s.", name, sum(sizes.values()), len(prompts), paths[name])
    check_no_shared_prompts(sets)
    extra = _extra_sets(params.evaluate.sets, sets)
    base = read_base()
    folder = pinned_folder(base, weights=False)
    tokenizer, limit = load_tokenizer(folder), longest_sequence(load_config(folder))
    today = date.fromisoformat(settings.today) if settings.today else None
    system_prompt, arguments = settings.system_prompt, settings.template_arguments
    responses = _longest_responses(params)
    with atomic_folder(TOKENS) as temporary:
        for which, splits in (sets | extra).items():
            for split, prompts in splits.items():
                messages = [prompt.text for prompt in prompts]
                rendered = chat.tokenize_prompts(
                    tokenizer,
                    messages,
                    system_prompt=system_prompt,
                    response_prefix=settings.response_prefix,
                    template_arguments=arguments,
                    today=today,
                )
                where, tokens = f"{which} {split}", [prompt.tokens for prompt in rendered]
                refuse_unknown_tokens(where, messages, tokens, base.vocabulary)
                refuse_too_long(where, messages, tokens, responses[split], limit)
                rows = [
                    TokenizedPrompt(prompt.text, prompt.reference, text, ids)
                    for prompt, (text, ids) in zip(prompts, rendered, strict=True)
                ]
                write_tokens(temporary, which, split, rows)
    notes = chat.template_notes(tokenizer, system_prompt=system_prompt, template_arguments=arguments, today=today)
    for line in notes:
        logger.info(line)


def _extra_sets(
    named: Mapping[str, ExtraSet], sets: Mapping[str, Mapping[SplitName, Sequence[Prompt]]]
) -> dict[str, dict[SplitName, list[Prompt]]]:
    """Return the prompts of the extra sets, which are for the test alone, as those that were listed before."""
    read_artifact(SetFiles, PROMPT_FILES, "list_inputs")
    extra: dict[str, dict[SplitName, list[Prompt]]] = {}
    for name, one in named.items():
        prompts = read_extra_set(Path(one.prompts), sets)
        extra[name] = {"test": prompts}
        logger.info("%s: the %d prompts in %s.", name, len(prompts), one.prompts)
    return extra


def _longest_responses(params: Params) -> dict[SplitName, int]:
    """Return how many response tokens follow the prompts of each split, at most."""
    return {
        "train": 0,
        "validation": max(params.optimize.max_tokens, params.optimize.kl_tokens),
        "test": max(params.generate.max_tokens, params.generate.kl_tokens),
    }


if __name__ == "__main__":
    run_stage(tokenize_prompts)
