"""Tokenize the prompts: cut splits, render the chat template, write token ids with the rendered text."""

from __future__ import annotations

import logging
from pathlib import Path

from unwrite.files.atomic import atomic_folder
from unwrite.files.prompts import check_no_shared_prompts, cut_splits, read_prompts
from unwrite.models import chat
from unwrite.models.loading import load_tokenizer
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
    tokenizer = load_tokenizer(pinned_folder(read_base(), weights=False))
    with atomic_folder(TOKENS) as folder:
        for name in SETS:
            for split in SPLITS:
                rendered = chat.tokenize_prompts(
                    tokenizer,
                    [prompt.text for prompt in sets[name][split]],
                    system_prompt=settings.system_prompt,
                    response_prefix=settings.response_prefix,
                    template_arguments=settings.template_arguments,
                )
                rows = [
                    TokenizedPrompt(prompt.text, prompt.reference, text, tokens)
                    for prompt, (text, tokens) in zip(sets[name][split], rendered, strict=True)
                ]
                write_tokens(folder, name, split, rows)


if __name__ == "__main__":
    run_stage(tokenize_prompts)
