"""Tokenize the extra prompt sets, which are for the test alone: another one changes no direction and no edit."""

from __future__ import annotations

from collections import Counter

from unwrite.files.atomic import atomic_folder
from unwrite.files.prompt_sets import check_new_prompts
from unwrite.files.prompts import prompt_key
from unwrite.files.records import write_json
from unwrite.models.loading import load_config
from unwrite.models.prompt_limits import longest_sequence
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.prompt_sources import ReadSet, read_extra_set
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.templates import load_as_tokenized
from unwrite.pipeline.tokenizing import (
    ModelLimits,
    all_different,
    recorded_origin,
    rendered_places,
    tokenize_set,
)
from unwrite.pipeline.tokens import read_tokens, write_tokens
from unwrite.schema.artifacts import PromptOrigin, PromptOrigins, SetFiles, as_json, read_artifact, read_base
from unwrite.schema.params import Params
from unwrite.schema.paths import SET_FILES, SET_TOKENS, SOURCES, TOKENS
from unwrite.terms import SETS, SPLITS


def tokenize_sets(params: Params) -> None:
    """Write artifacts/set_tokens/NAME.test.jsonl for each extra set (`evaluate.sets`), and where they came from."""
    read_artifact(SetFiles, SET_FILES, "list_inputs")  # which changes with the files
    used = {f"{name} {split}": read_tokens(name, split) for name in SETS for split in SPLITS}
    keys = {prompt_key(row.system_prompt, row.prompt): place for place, rows in used.items() for row in rows}
    sets: dict[str, ReadSet] = {}
    for name, extra in params.evaluate.sets.items():
        sets[name] = read_extra_set(name, extra.prompts, params.tokenize)
        check_new_prompts(sets[name].splits["test"], keys)
    rendered = read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts")
    settings = params.tokenize.model_copy(update={"response_prefix": rendered.response_prefix})
    base = read_base()
    folder = pinned_folder(base, weights=False)
    tokenizer, longest = load_as_tokenized(folder), longest_sequence(load_config(folder))
    limits = ModelLimits(base.vocabulary, longest, max(params.generate.max_tokens, params.generate.kl_tokens))
    shortened, origins = Counter[str](), dict[str, PromptOrigin]()
    with atomic_folder(SET_TOKENS) as temporary:
        for name, one in sets.items():
            prompts = one.prompts()["test"]
            rows = tokenize_set(tokenizer, name, prompts, settings, limits, suffix=one.suffix, shortened=shortened)
            # Two extra sets may share a prompt: each is measured on its own.
            write_tokens(temporary, name, "test", all_different(rows, name, rendered_places(used)))
            origins[name] = recorded_origin(name, one.origin, {"test": name}, shortened)
        write_json(temporary / SOURCES, as_json(rendered.model_copy(update={"sets": origins})))


if __name__ == "__main__":
    run_stage(tokenize_sets)
