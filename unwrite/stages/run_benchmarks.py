"""Score base and edited model on benchmarks of lm-evaluation-harness, if there are any in evaluate.benchmarks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unwrite.files.records import write_json
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import PromptOrigins, as_json, read_artifact, read_base
from unwrite.schema.evaluation import Benchmarks
from unwrite.schema.params import Params
from unwrite.schema.paths import BENCHMARKS, MODEL, SOURCES, TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger("unwrite.stage")


def run_benchmarks(params: Params) -> str | None:
    """Write artifacts/benchmarks.json; without benchmarks it has no scores, and nothing is loaded.

    Returns the dtype that the models computed in.
    """
    if not params.evaluate.benchmarks:
        write_json(BENCHMARKS, as_json(Benchmarks(harness=None, scores=[])))
        return None
    from unwrite.evaluation.benchmark_scores import compare_results
    from unwrite.evaluation.harness import find_tasks
    from unwrite.models.loading import dtype_of_model
    from unwrite.pipeline.base import pinned_folder
    from unwrite.pipeline.templates import load_as_tokenized

    folder = params.evaluate.harness.task_folder
    manager = find_tasks(params.evaluate.benchmarks, None if folder is None else Path(folder))
    base = read_base()
    base_folder = pinned_folder(base)
    dtype = dtype_of_model(base_folder, base.compute_dtype, params.runtime)  # once, so that both compute alike
    tokenizer = load_as_tokenized(base_folder)
    results = []
    for name, model_folder in (("base", base_folder), ("edited", MODEL)):
        logger.info("%s model: %s.", name, ", ".join(params.evaluate.benchmarks))
        results.append(_run(params, model_folder, dtype, tokenizer, manager, padding_sensitive=base.padding_sensitive))
    write_json(BENCHMARKS, as_json(compare_results(*results)))
    return dtype


def _run(
    params: Params,
    folder: Path,
    dtype: str,
    tokenizer: PreTrainedTokenizerBase,
    manager: Any,
    *,
    padding_sensitive: bool,
) -> dict[str, Any]:
    """Run the harness on one model, which is gone from memory when this returns."""
    from unwrite.evaluation.harness import documents_per_pass, run_harness
    from unwrite.models.loading import load_model
    from unwrite.models.placement import input_device
    from unwrite.pipeline.progress import is_bar
    from unwrite.pipeline.tokenizing import template_date

    model = load_model(folder, dtype, params.runtime)
    return run_harness(
        model,
        tokenizer,
        params.evaluate.benchmarks,
        manager,
        few_shot=params.evaluate.harness.few_shot,
        limit=params.evaluate.harness.limit,
        batch_size=documents_per_pass(
            params.runtime.batch_tokens, input_device(model).type, padding_sensitive=padding_sensitive
        ),
        chat_template=params.evaluate.harness.chat_template,
        system_prompt=params.tokenize.system_prompt,
        template_arguments=params.tokenize.template_arguments,
        response_prefix=read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts").response_prefix,
        today=template_date(params.tokenize.today),
        progress=is_bar(params.runtime.progress),
    )


if __name__ == "__main__":
    run_stage(run_benchmarks)
