"""Tokenize the prompts: cut splits, render the chat template, write token ids with the rendered text."""

from __future__ import annotations

import logging
from pathlib import Path

from unwrite.files.atomic import atomic_folder
from unwrite.files.prompts import check_no_shared_prompts, cut_splits, read_prompts
from unwrite.models.chat import template_notes
from unwrite.models.loading import load_config, load_tokenizer
from unwrite.models.prompt_limits import longest_sequence
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.tokenizing import template_date, tokenize_set
from unwrite.pipeline.tokens import write_tokens
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
    responses = _longest_responses(params)
    with atomic_folder(TOKENS) as temporary:
        for name in SETS:
            for split in SPLITS:
                rows = tokenize_set(
                    tokenizer,
                    f"{name} {split}",
                    sets[name][split],
                    settings,
                    vocabulary=base.vocabulary,
                    response=responses[split],
                    limit=limit,
                )
                write_tokens(temporary, name, split, rows)
    notes = template_notes(
        tokenizer,
        system_prompt=settings.system_prompt,
        template_arguments=settings.template_arguments,
        today=template_date(settings.today),
    )
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
