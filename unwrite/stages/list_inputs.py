"""List the files of a local model, of prompt sets and of benchmark tasks: every time, to see changes."""

from __future__ import annotations

import logging
from pathlib import Path

from unwrite.files.records import write_json
from unwrite.pipeline.listing import list_marker_files, list_model_files, list_prompt_files, list_task_files
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import as_json
from unwrite.schema.params import RAW, Params, source_of
from unwrite.schema.paths import JUDGE_FILES, MARKER_FILES, MODEL_FILES, PROMPT_FILES, SET_FILES, TASK_FILES
from unwrite.schema.text import refuse_endless
from unwrite.terms import SETS

logger = logging.getLogger("unwrite.stage")


def list_inputs(params: Params) -> None:
    """Write artifacts/{model,judge,prompt,set,marker,task}_files.json, and refuse what DVC would read without end."""
    phrases = Path(params.judge.markers)
    refuse_endless(phrases)
    if not phrases.exists():  # DVC would only name the file, when the first stage needs it
        logger.warning("%s is missing: `unwrite markers --write %s` proposes some.", phrases, phrases)
    prompts = {f"tokenize.{name}": getattr(params.tokenize, name) for name in SETS}
    template = params.tokenize.template
    if template is not None and template != RAW:
        prompts["tokenize.template"] = template
    extra = params.evaluate.sets
    extra_prompts = {f"evaluate.sets.{name}.prompts": one.prompts for name, one in extra.items()}
    for path, sources in ((PROMPT_FILES, prompts), (SET_FILES, extra_prompts)):
        write_json(path, as_json(list_prompt_files((key, source_of(one)) for key, one in sources.items())))
    markers = (one.markers for one in extra.values() if one.markers is not None)
    write_json(MARKER_FILES, as_json(list_marker_files(markers)))
    listing = list_model_files(params.model.source)
    write_json(MODEL_FILES, as_json(listing))
    classifier = params.judge.classifier
    write_json(JUDGE_FILES, as_json(list_model_files(classifier.source if classifier else None, JUDGE_FILES)))
    write_json(TASK_FILES, as_json(list_task_files(params.evaluate.harness.task_folder)))
    where = f"{len(listing.files)} files" if listing.files else "not a folder here, so there is nothing to watch"
    logger.info("%s: %s.", params.model.source, where)


if __name__ == "__main__":
    run_stage(list_inputs)
