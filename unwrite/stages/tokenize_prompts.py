"""Tokenize the prompts: cut splits, render the chat template, write token ids with the rendered text."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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
from unwrite.pipeline.prompt_sources import read_sets
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.templates import load_with_template, origin_of_template, text_of_template
from unwrite.pipeline.tokenizing import all_different, template_date, tokenize_set
from unwrite.pipeline.tokens import write_tokens
from unwrite.schema.artifacts import Base, PromptOrigins, SetFiles, as_json, read_artifact, read_base
from unwrite.schema.params import FOUND, Params
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
    template, limit = text_of_template(tokenizer), longest_sequence(load_config(folder))
    settings = settings.model_copy(update={"response_prefix": _response_prefix(params, base, tokenizer, prompts)})
    responses, seen = _longest_responses(params), dict[bytes, str]()
    with atomic_folder(TOKENS) as temporary:
        for name in SETS:
            for split in SPLITS:
                rows = tokenize_set(
                    tokenizer,
                    f"{name} {split}",
                    prompts[name][split],
                    settings,
                    vocabulary=base.vocabulary,
                    response=responses[split],
                    limit=limit,
                )
                write_tokens(temporary, name, split, all_different(rows, f"{name} {split}", seen))
            origin = sets[name].origin
            logger.info("%s: %d prompts of %s.", name, sum(origin.prompts.values()), origin.source)
        origins = PromptOrigins(
            sets={name: sets[name].origin for name in SETS},
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
            vocabulary=base.vocabulary,
            response=0,
            limit=None,
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


def _longest_responses(params: Params) -> dict[SplitName, int]:
    """Return how many response tokens follow the prompts of each split, at most."""
    return {
        "train": 0,
        "validation": max(params.optimize.max_tokens, params.optimize.kl_tokens),
        "test": max(params.generate.max_tokens, params.generate.kl_tokens),
    }


if __name__ == "__main__":
    run_stage(tokenize_prompts)
