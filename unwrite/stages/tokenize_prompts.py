"""Tokenize the prompts: cut splits, render the chat template, write token ids with the rendered text."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.files.atomic import atomic_folder
from unwrite.files.prompt_sets import check_no_shared_prompts
from unwrite.files.prompts import Prompt
from unwrite.files.records import write_json, write_text
from unwrite.models.chat import RenderedPrompt
from unwrite.models.loading import load_config
from unwrite.models.prompt_limits import longest_sequence
from unwrite.models.template_notes import template_notes
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.prompt_sources import ReadSet, read_sets
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.templates import load_with_template, origin_of_template, text_of_template
from unwrite.pipeline.tokenizing import (
    ModelLimits,
    all_different,
    longest_responses,
    recorded_origin,
    template_date,
    tokenize_set,
)
from unwrite.pipeline.tokens import write_tokens
from unwrite.schema.artifacts import Base, PromptOrigin, PromptOrigins, SetFiles, as_json, read_artifact, read_base
from unwrite.schema.params import FOUND, Params, Tokenize
from unwrite.schema.paths import PROMPT_FILES, SOURCES, TEMPLATE, TOKENS
from unwrite.terms import SETS, SPLITS, SplitName

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_READ = 8
"""Prompts of each set whose responses show what every response begins with."""

logger = logging.getLogger("unwrite.stage")


def tokenize_prompts(params: Params) -> None:
    """Write artifacts/tokens/{target,baseline}.{train,validation,test}.jsonl, and where they came from."""
    read_artifact(SetFiles, PROMPT_FILES, "list_inputs")  # which changes with the files
    settings = params.tokenize
    sets = read_sets(settings)
    prompts = {name: one.prompts() for name, one in sets.items()}
    check_no_shared_prompts(prompts)
    base = read_base()
    folder = pinned_folder(base, weights=False)
    tokenizer = load_with_template(folder, settings.template)
    template, longest = text_of_template(tokenizer), longest_sequence(load_config(folder))
    settings = settings.model_copy(update={"response_prefix": _response_prefix(params, base, tokenizer, prompts)})
    responses = longest_responses(
        params.filter,
        max(params.optimize.max_tokens, params.optimize.kl_tokens),
        max(params.generate.max_tokens, params.generate.kl_tokens),
    )
    limits = {split: ModelLimits(base.vocabulary, longest, tokens) for split, tokens in responses.items()}
    with atomic_folder(TOKENS) as temporary:
        origins = PromptOrigins(
            sets=_write_sets(temporary, sets, tokenizer, settings, limits),
            response_prefix=settings.response_prefix,
            template=origin_of_template(settings.template, template),
        )
        write_json(temporary / SOURCES, as_json(origins))
        write_text(temporary / TEMPLATE, template)
    for system_prompt in dict.fromkeys(one.origin.system_prompt for one in sets.values()):
        for line in template_notes(
            tokenizer,
            system_prompt=system_prompt,
            template_arguments=settings.template_arguments,
            today=template_date(settings.today),
        ):
            logger.info(line)


def _write_sets(
    folder: Path,
    sets: Mapping[str, ReadSet],
    tokenizer: PreTrainedTokenizerBase,
    settings: Tokenize,
    limits: Mapping[SplitName, ModelLimits],
) -> dict[str, PromptOrigin]:
    """Write the tokens of every split of every set, and return where they came from."""
    seen, shortened, origins = dict[bytes, str](), Counter[str](), dict[str, PromptOrigin]()
    for name, one in sets.items():
        places = {split: f"{name} {split}" for split in SPLITS}
        for split, place in places.items():
            prompts = one.prompts()[split]
            rows = tokenize_set(
                tokenizer, place, prompts, settings, limits[split], suffix=one.suffix, shortened=shortened
            )
            write_tokens(folder, name, split, all_different(rows, place, seen))
        origins[name] = recorded_origin(name, one.origin, places, shortened)
    return origins


def _response_prefix(
    params: Params,
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[str, Mapping[SplitName, Sequence[Prompt]]],
) -> str:
    """Return the text that every response is made to begin with: as params.yaml says, or as the model's begin."""
    settings = params.tokenize
    if settings.response_prefix != FOUND:
        return settings.response_prefix
    from unwrite.evaluation.response_prefix import find_response_prefix
    from unwrite.models.loading import load_model

    model = load_model(pinned_folder(base), base.compute_dtype, params.runtime, base.quantization)
    rendered = [
        RenderedPrompt(row.text, row.tokens)
        for name in SETS
        for row in tokenize_set(
            tokenizer,
            f"{name} train",
            prompts[name]["train"][:_READ],
            settings.model_copy(update={"response_prefix": ""}),
            ModelLimits(base.vocabulary, None, 0),
        )
    ]
    return find_response_prefix(
        model,
        tokenizer,
        rendered,
        settings.closed_thoughts,
        batch_tokens=params.runtime.batch_tokens,
        padding_sensitive=base.padding_sensitive,
    )


if __name__ == "__main__":
    run_stage(tokenize_prompts)
