"""Tokenize the extra prompt sets, which are for the test alone: another one changes no direction and no edit."""

from __future__ import annotations

import logging
from pathlib import Path

from unwrite.files.atomic import atomic_folder
from unwrite.files.prompts import Prompt, read_extra_set
from unwrite.models.loading import load_config, load_tokenizer
from unwrite.models.prompt_limits import longest_sequence
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.tokenizing import tokenize_set
from unwrite.pipeline.tokens import read_tokens, write_tokens
from unwrite.schema.artifacts import SetFiles, read_artifact, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import PROMPT_FILES, SET_TOKENS
from unwrite.terms import SETS, SPLITS

logger = logging.getLogger("unwrite.stage")


def tokenize_sets(params: Params) -> None:
    """Write artifacts/set_tokens/NAME.test.jsonl for each of the extra sets (`evaluate.sets`)."""
    read_artifact(SetFiles, PROMPT_FILES, "list_inputs")  # which changes with the files
    used = {
        name: {split: [Prompt(row.prompt, row.reference) for row in read_tokens(name, split)] for split in SPLITS}
        for name in SETS
    }
    sets = {name: read_extra_set(Path(one.prompts), used) for name, one in params.evaluate.sets.items()}
    base = read_base()
    folder = pinned_folder(base, weights=False)
    tokenizer, limit = load_tokenizer(folder), longest_sequence(load_config(folder))
    response = max(params.generate.max_tokens, params.generate.kl_tokens)
    with atomic_folder(SET_TOKENS) as temporary:
        for name, prompts in sets.items():
            rows = tokenize_set(
                tokenizer,
                name,
                prompts,
                params.tokenize,
                vocabulary=base.vocabulary,
                response=response,
                limit=limit,
            )
            write_tokens(temporary, name, "test", rows)
            logger.info("%s: the %d prompts in %s.", name, len(prompts), params.evaluate.sets[name].prompts)


if __name__ == "__main__":
    run_stage(tokenize_sets)
